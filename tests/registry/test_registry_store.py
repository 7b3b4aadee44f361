from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from agentlora.core.errors import ConfigError, MissingExtra, RegistryError
from agentlora.core.files import sha256_bytes
from agentlora.registry.card import SkillCard
from agentlora.registry.names import NotFound
from agentlora.registry.store import Registry, Version, open_registry

Publish = Callable[..., Version]


def test_a_version_is_numbered_resolved_and_laid_out(store: Registry, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    assert (one.number, two.number) == (1, 2)
    for ref in ("tool-calling", "tool-calling@prod", "tool-calling@v2", f"tool-calling@sha256:{two.digest}"):
        assert store.resolve(ref) == two
    assert store.resolve(one.served_name) == one
    assert store.resolve(f"tool-calling@{one.digest[:8]}") == one
    assert [v.number for v in store.versions("tool-calling")] == [1, 2]

    directory = store.materialise(two)
    assert directory == store.home / "serve" / two.served_name
    assert (directory / "adapter_config.json").read_text() == "adapter_config.json two"
    assert store.verify(two) == []


def test_the_digest_is_that_of_the_manifest_with_card_and_files(store: Registry, publish: Publish) -> None:
    version = publish("one")
    manifest = store.blobs.path(version.digest).read_bytes()
    assert sha256_bytes(manifest) == version.digest
    stored = json.loads(manifest)
    assert stored["card"]["name"] == "tool-calling"
    content = b"adapter_config.json one"
    assert stored["files"]["adapter_config.json"] == {"sha256": sha256_bytes(content), "size": len(content)}


def test_the_same_content_is_the_same_version_and_moves_only_the_alias(
    store: Registry, publish: Publish
) -> None:
    one = publish("one")
    publish("two")
    again = publish("one")
    assert again == one
    assert (one.existing, again.existing) == (False, True)
    assert len(store.versions("tool-calling")) == 2
    assert store.resolve("tool-calling@prod") == one


def test_another_card_with_the_same_files_is_another_version(
    store: Registry, publish: Publish, card: Callable[..., SkillCard], tmp_path: Path
) -> None:
    one = publish("one")
    files = {name: tmp_path / "files" / "one" / name for name in one.files}
    two = store.publish(card(summary="Calls tools better"), files)
    assert two.digest != one.digest
    assert two.files == one.files


def test_without_an_alias_the_newest_answers(store: Registry, publish: Publish) -> None:
    publish("one", alias=None)
    two = publish("two", alias=None)
    assert store.resolve("tool-calling") == two
    assert store.aliases("tool-calling") == {}
    with pytest.raises(NotFound, match="tool-calling@v1"):
        store.resolve("tool-calling@prod")


def test_rollback_goes_back_one_version_each_time_and_history_keeps_all(
    store: Registry, publish: Publish
) -> None:
    one, two, three = publish("one"), publish("two"), publish("three")
    assert store.rollback("tool-calling") == two
    assert store.rollback("tool-calling") == one
    with pytest.raises(RegistryError, match="no earlier version"):
        store.rollback("tool-calling")
    assert store.resolve("tool-calling") == one
    moves = store.history("tool-calling", "prod")
    assert [(m.version.number, m.kind) for m in moves] == [
        *((1, "set"), (2, "set"), (3, "set")),
        *((2, "rollback"), (1, "rollback")),
    ]
    store.set_alias("tool-calling", "prod", three)
    assert store.rollback("tool-calling") == one


def test_the_generation_grows_with_every_change_and_only_then(store: Registry, publish: Publish) -> None:
    seen = [store.generation()]

    def grew() -> bool:
        seen.append(store.generation())
        return seen[-1] > seen[-2]

    one = publish("one", alias=None)
    assert grew()
    publish("one", alias=None)
    store.resolve("tool-calling")
    assert not grew()
    store.set_alias("tool-calling", "candidate", one)
    assert grew()
    store.set_alias("tool-calling", "candidate", one)
    assert not grew()
    publish("two")
    assert grew()
    publish("one")
    assert grew()
    store.rollback("tool-calling")
    assert grew()


def test_skills_and_aliases_are_kept_apart(store: Registry, publish: Publish) -> None:
    a = publish("one", name="team/a")
    b = publish("one", name="b")
    assert store.skills() == ["b", "team/a"]
    assert store.aliases("b") == {"prod": b}
    assert store.materialise(a).parent.name == "team"
    with pytest.raises(RegistryError, match="another skill's"):
        store.set_alias("b", "prod", a)


def test_unknown_references_say_what_there_is(store: Registry, publish: Publish) -> None:
    with pytest.raises(NotFound, match="There is: none"):
        store.resolve("tool-calling")
    one = publish("one")
    with pytest.raises(NotFound, match="Did you mean 'tool-calling'"):
        store.resolve("tool-caling")
    with pytest.raises(NotFound, match="tool-calling@prod, tool-calling@v1"):
        store.resolve("tool-calling@v9")
    with pytest.raises(NotFound, match=one.digest[:12]):
        store.resolve("tool-calling@sha256:00000000")
    with pytest.raises(NotFound, match="skill 'other'"):
        store.rollback("other")
    with pytest.raises(NotFound, match="tool-calling@prod"):
        store.rollback("tool-calling", "candidate")
    with pytest.raises(NotFound):
        store.versions("other")


def test_a_digest_that_fits_two_versions_is_refused(store: Registry, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    alike = one.digest[:10] + two.digest[10:]
    with store._db.write("making digests alike") as db:
        db.execute(text("UPDATE agentlora_versions SET digest = :d WHERE number = 2"), {"d": alike})
    with pytest.raises(NotFound, match="more than one version"):
        store.resolve(f"tool-calling@{one.digest[:10]}")
    assert store.resolve(f"tool-calling@{one.digest[:16]}") == one


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "", ".hidden", "manifest.json", "a/../b", "a\n"])
def test_unsafe_file_names_are_refused(
    name: str, store: Registry, card: Callable[..., SkillCard], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RegistryError, match="cannot hold a file"):
        store.publish(card(), {name: tmp_path / "file"})
    assert store.skills() == []


def test_missing_files_and_bad_figures_are_refused_before_anything_changes(
    store: Registry, card: Callable[..., SkillCard], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RegistryError, match="is not a file"):
        store.publish(card(), {"a": tmp_path / "absent"})
    with pytest.raises(RegistryError, match="at least one file"):
        store.publish(card(), {})
    with pytest.raises(RegistryError, match="not finite"):
        store.publish(card(headline={"value": float("nan")}), {"a": tmp_path / "file"})
    with pytest.raises(ConfigError, match="cannot be an alias"):
        store.publish(card(), {"a": tmp_path / "file"}, alias="v1")
    assert store.skills() == []
    assert store.generation() == 0


def test_served_files_are_read_only_reused_and_mended(store: Registry, publish: Publish) -> None:
    version = publish("one")
    directory = store.materialise(version)
    weights = directory / "adapter_model.safetensors"
    assert weights.stat().st_mode & 0o222 == 0
    inode = weights.stat().st_ino
    assert store.materialise(version) == directory
    assert weights.stat().st_ino == inode

    weights.unlink()
    assert "missing or damaged" in store.verify(version)[0]
    store.materialise(version)
    assert weights.read_text() == "adapter_model.safetensors one"
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_damage_is_found_and_never_served_and_publishing_again_mends_it(
    store: Registry, publish: Publish
) -> None:
    version = publish("one")
    blob = store.blobs.path(version.files["adapter_model.safetensors"])
    size = blob.stat().st_size
    blob.chmod(0o644)
    blob.write_text("x" * size)
    assert "damaged" in store.verify(version)[0]
    with pytest.raises(RegistryError, match="is damaged"):
        store.materialise(version)
    assert list((store.home / "serve").iterdir()) == []

    assert publish("one") == version
    assert store.verify(version) == []
    blob.unlink()
    assert "is missing" in store.verify(version)[0]
    with pytest.raises(RegistryError, match="publish or pull"):
        store.materialise(version)


def test_a_same_sized_change_in_a_served_file_is_found_by_verify(store: Registry, publish: Publish) -> None:
    version = publish("one")
    weights = store.materialise(version) / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_text("x" * weights.stat().st_size)
    assert [str(weights) in problem for problem in store.verify(version)] == [True]


def test_a_reopened_registry_holds_the_same(store: Registry, publish: Publish, url: str | None) -> None:
    version = publish("one")
    other = Registry(store.home, url)
    assert other.resolve("tool-calling") == version
    assert other.generation() == store.generation()
    other.close()


def test_a_newer_schema_is_refused(store: Registry, url: str | None) -> None:
    with store._db.write("pretending") as db:
        db.execute(text("UPDATE agentlora_meta SET value = 99 WHERE key = 'schema'"))
    with pytest.raises(RegistryError, match="schema 99"):
        Registry(store.home, url)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("nonsense", ConfigError),
        ("nodialect://x/y", ConfigError),
        ("mysql+pymysql://u:secret@h/d", MissingExtra),
    ],
)
def test_a_url_that_cannot_be_used(tmp_path: Path, bad: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Registry(tmp_path, bad)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "index.sqlite").write_text("not a database at all" * 100)
    with pytest.raises(RegistryError, match="not a database"):
        Registry(tmp_path)


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="opening the registry failed"):
        Registry(tmp_path / "file")


def test_a_home_with_odd_characters(tmp_path: Path, card: Callable[..., SkillCard]) -> None:
    home = tmp_path / "a ?b=c #d %41 ü"
    (tmp_path / "file").write_text("x")
    store = Registry(home)
    version = store.publish(card(), {"file": tmp_path / "file"})
    assert (home / "registry" / "index.sqlite").is_file()
    assert (store.materialise(version) / "file").read_text() == "x"
    store.close()


def test_open_registry_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AGENTLORA_REGISTRY_URL", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    open_registry().close()
    tables: Any = create_engine(f"sqlite:///{tmp_path / 'elsewhere.sqlite'}").connect()
    assert tables.execute(text("SELECT count(*) FROM agentlora_meta")).scalar() == 2
    tables.close()
