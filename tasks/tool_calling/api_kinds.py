"""What a parameter is: how its name is said aloud, what it names, and which kind of value it takes."""

from __future__ import annotations

import re
from functools import lru_cache

from agentlora.tasks.tool_calling.api_sources import MANY, Param, singular, split_words

# kinds of values that say which thing is meant
NAMING = (
    "id",
    "name",
    "arn",
    "resource",
    "account",
    "user",
    "email",
    "domain",
    "path",
    "url",
    "title",
    "phone",
)
ACRONYMS = {
    "id", "arn", "db", "vpc", "iam", "acl", "api", "url", "uri", "ip", "ssl", "tls", "kms", "dns", "http",
    "https", "aws", "sns", "sqs", "ec2", "s3", "ebs", "efs", "vpn", "cidr", "sql", "csv", "saml", "oidc",
    "mfa", "sso", "ssh", "cpu", "gpu", "ssm", "waf", "ami", "bgp", "sdk", "io", "ml", "ai", "pdf", "rds",
    "ecs", "eks", "cdn", "mac", "tcp", "udp", "ttl", "uuid", "sms", "gcp", "os", "nat", "ui", "gb", "mb",
    "gib", "mib", "etl", "iot", "kpi", "qr", "tv", "rpc", "vm", "isbn", "utc", "json", "faq", "ipam", "msk",
    "emr", "slo", "sla", "cmk", "hsm", "xml", "html", "tgw", "hit",
}  # fmt: skip
_MIXED = {
    "ipv4": "IPv4", "ipv6": "IPv6", "ids": "IDs", "arns": "ARNs", "urls": "URLs", "vpcs": "VPCs",
    "apis": "APIs", "acls": "ACLs", "ips": "IPs", "dbs": "DBs", "amis": "AMIs", "vms": "VMs",
    "oauth": "OAuth", "num": "number", "fpgas": "FPGAs", "hits": "HITs",
}  # fmt: skip


@lru_cache(MANY)
def spoken(words: tuple[str, ...]) -> str:
    """``("db", "instance", "ids")`` → ``DB instance IDs``."""
    return " ".join(_MIXED.get(w, w.upper() if w in ACRONYMS else w) for w in words)


_TEXT = (
    "description|comment|comments|reason|message|text|body|note|notes|summary|content|prompt|question|remarks|"
    "justification|instructions|explanation|detail|answer"
)
_WORD = (
    "type|mode|category|level|scope|format|protocol|class|tier|unit|group by|dimension|method|action|role|size|"
    "feature|attribute|attribute name|field|property|event|operation|service|platform|color"
)
# kind → what the words of a parameter's name match; the first that fits counts
_KINDS: tuple[tuple[str, str], ...] = (
    ("email", r"e ?mail( address)?|mail|.*\bemail( address)?"),
    ("phone", r".*(phone|phone number|mobile|msisdn)"),
    ("url", r".*(url|uri|website|webhook|site|link)"),
    ("arn", r".*arn"),
    ("cidr", r".*cidr.*"),
    ("ip", r".*\bip|.*ip address|.*ipv4( address)?"),
    ("region", r".*region|aws region( name)?|.*location|.*locations id"),
    ("zone", r".*zone|availability zone( id| name)?"),
    ("timezone", r".*time ?zone( code| id)?"),
    ("country", r".*country( code)?"),
    ("language", r".*(language|locale|language code|locale code|hl)"),
    ("currency", r".*currency( code)?"),
    ("account", r".*(account id|account number|owner id|aws account|accounts id)|account"),
    ("runtime", r".*runtime"),
    ("engine", r"engine|database engine|db engine"),
    ("machine", r".*(instance type|instance class|node type|machine type|compute type)"),
    ("version", r".*(version|version id|version number)"),
    ("query", r"q|query|.*(search|keyword|search term|search query|query text|query string)"),
    ("text", rf".*({_TEXT})"),
    ("title", r".*(title|subject|display name|label|caption|headline|friendly name)"),
    ("person", r"(full|first|last|given|family|contact|author|customer|person) name|(author|artist)"),
    ("user", r".*(user name|username|user|login|principal|assignee|owner|user key|member key|creator)"),
    ("city", r".*(city|town)"),
    ("postcode", r".*(postal code|zip code|postcode|zip)"),
    ("address", r"(street |mailing |postal )?address( line( \d)?)?"),
    ("domain", r".*(domain|domain name|host|host ?name|hosted zone name)"),
    ("path", r".*(path|prefix|file ?name|folder name|directory|object key|s3 key|object|file)"),
    ("status", r".*(status|state)"),
    ("duration", r".*(period|duration|interval) (iso|string)"),
    ("id", r".*(id|ids|identifier|uuid|number|handle|guid|identifiers)"),
    ("word", rf".*({_WORD})"),
)  # fmt: skip
_START = re.compile(r".*\b(start|from|since|after|begin|beginning|min|earliest|starting|opens?)\b.*")
_END = re.compile(r".*\b(end|to|until|before|max|latest|ending|expir\w+|expiry|due|finish|ttl|closes?)\b.*")
_LIMIT = re.compile(
    r"(max|maximum|num|page|limit)? ?(results?|items?|records?|size|limit|keys|count|max results)|limit|top|"
    r"max (results|items|records)|page size|.* limit size|results per page|num results"
)


def kind_of(param: Param) -> str:
    """What sort of value `param` takes: decides the pool and how the value is put in a sentence."""
    schema, words = param.schema, " ".join(param.words)
    if schema["type"] == "boolean":
        return "bool"
    if schema["type"] == "object":
        return "struct"
    if schema["type"] == "array":
        return "list"
    if "enum" in schema or param.choices:
        return "enum"
    if "format" in schema:
        return "start" if _START.fullmatch(words) else "end" if _END.fullmatch(words) else "date"
    if schema["type"] in ("integer", "number"):
        return "limit" if _LIMIT.fullmatch(words) else "number"
    if param.pattern:
        return "resource"
    return _kind_of_words(words)


@lru_cache(MANY)
def _kind_of_words(words: str) -> str:
    return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, words)), "name")


_NAMES_IT = ("id", "ids", "identifier", "identifiers", "name", "names", "arn", "arns")


@lru_cache(MANY)
def about(words: tuple[str, ...]) -> tuple[str, ...]:
    """The thing that an id or name belongs to: ``("db", "instance", "identifier")`` → ``("db", "instance")``."""
    kept = list(words)
    while kept and kept[-1] in _NAMES_IT:
        kept.pop()
    return tuple(kept)


def thing_of(param: Param) -> tuple[str, ...]:
    """`about`, and for the ``parent`` of a Google resource what its pattern ends in."""
    if param.words == ("parent",) and param.pattern:
        literal = [part for part in param.pattern.strip("^$").split("/") if part.isalpha()]
        return singular(split_words(literal[-1])) if literal else ("parent",)
    return about(param.words)
