"""A real HTTP server that speaks what huggingface_hub's client asks of a hub when a folder is uploaded.

Files called ``*.safetensors`` go the way of git LFS, the others come inside the commit. Only `TOKEN` may write, only
for the owner ``me``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "hf_" + "planted" * 4


@dataclass
class Repository:
    """What was pushed: `files` by path, as committed."""

    visibility: str
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class FakeHub:
    """`repositories` by OWNER/NAME; `full` makes it refuse the bytes of large files."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    full: bool = False
    url: str = ""

    def app(self) -> Starlette:
        name = "{owner}/{name}"
        routes = [
            ("/api/repos/create", self._create, "POST"),
            ("/api/validate-yaml", self._validate, "POST"),
            (f"/api/models/{name}/preupload/main", self._preupload, "POST"),
            (f"/{name}.git/info/lfs/objects/batch", self._batch, "POST"),
            ("/objects/{oid}", self._put, "PUT"),
            (f"/api/models/{name}/commit/main", self._commit, "POST"),
        ]
        return Starlette(routes=[Route(path, to, methods=[method]) for path, to, method in routes])

    async def _create(self, request: Request) -> Response:
        if refused := _refused(request):
            return refused
        body = await request.json()
        name = f"{body['organization']}/{body['name']}"
        if body["organization"] != "me":
            return JSONResponse({"error": f"You don't have the rights to write to {name}"}, 403)
        if name in self.repositories:
            return JSONResponse(
                {"error": "You already created this model repo", "url": f"{self.url}/{name}"}, 409
            )
        self.repositories[name] = Repository(body["visibility"])
        return JSONResponse({"url": f"{self.url}/{name}"})

    async def _validate(self, request: Request) -> Response:
        head = (await request.json())["content"].split("---\n")[1]
        errors = [] if "library_name:" in head else [{"message": "no library_name"}]
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    async def _preupload(self, request: Request) -> Response:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in (await request.json())["files"]
        ]
        return _refused(request) or JSONResponse({"files": files})

    async def _batch(self, request: Request) -> Response:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.url}/objects/{item['oid']}"}}}
            for item in (await request.json())["objects"]
        ]
        return _refused(request) or JSONResponse({"transfer": "basic", "objects": objects})

    async def _put(self, request: Request) -> Response:
        content, oid = await request.body(), request.path_params["oid"]
        if self.full or hashlib.sha256(content).hexdigest() != oid:
            return Response("no room", 400)
        self.objects[oid] = content
        return Response()

    async def _commit(self, request: Request) -> Response:
        if refused := _refused(request):
            return refused
        name = "{owner}/{name}".format(**request.path_params)
        for line in (await request.body()).splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "file":
                self.repositories[name].files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                self.repositories[name].files[value["path"]] = self.objects[value["oid"]]
        oid = "0" * 40
        answer: dict[str, Any] = {"commitUrl": f"{self.url}/{name}/commit/{oid}", "commitOid": oid}
        return JSONResponse(answer)


def _refused(request: Request) -> Response | None:
    if request.headers.get("authorization") == f"Bearer {TOKEN}":
        return None
    return JSONResponse({"error": "Invalid username or password."}, 401)
