"""Words, places and things that the values of API parameters are made from."""

from __future__ import annotations

HEADS = (
    "billing", "checkout", "payments", "search", "reports", "marketing", "analytics", "inventory",
    "onboarding", "support", "newsletter", "mobile", "warehouse", "loyalty", "shipping", "orders", "catalog",
    "staff", "invoice", "audit", "archive", "media", "customer", "events", "survey", "finance", "recruiting",
    "website", "fraud", "pricing", "partner", "harbor", "falcon", "juniper", "aurora", "maple", "cobalt",
    "willow", "orion", "summit",
)  # fmt: skip
TAILS = (
    "prod", "dev", "staging", "test", "eu", "us", "v2", "backup", "main", "nightly", "weekly", "internal",
    "public", "demo", "old", "2026", "blue", "green", "primary", "west", "pilot", "sandbox", "7", "team",
    "shared", "data",
)  # fmt: skip
PEOPLE = (
    "maria", "jonas", "priya", "tom", "aisha", "lukas", "chen", "olivia", "diego", "hana", "samir", "nora",
    "felix", "ines", "kofi", "elena",
)  # fmt: skip
SURNAMES = (
    "lopez", "berg", "shah", "clark", "khan", "weber", "wei", "stone", "ruiz", "sato", "haddad", "lind",
)  # fmt: skip
HOSTS = (
    "example.com", "acme.io", "northwind.org", "shop.example.net", "blueharbor.com", "greenleaf.dev",
    "api.acme.io", "mail.northwind.org", "orchard.app", "status.blueharbor.com", "tidewater.co",
    "lumen.studio",
)  # fmt: skip
ACTS = (
    "delete", "copy", "allow", "apply", "return", "retain", "use", "disable", "show", "keep", "create",
    "overwrite", "ignore", "send", "notify", "require", "remove", "wait", "preserve", "force", "fail", "do",
    "terminate", "publish", "restore", "update", "replace", "exclude", "skip", "export", "log", "propagate",
    "attach", "grant", "block", "share", "encrypt", "rotate", "sync", "run", "accept", "deploy", "reset",
    "prevent", "protect", "stop", "convert", "enforce", "promote", "include", "associate", "assign", "hide",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
TITLES = (
    "Quarterly report", "Spring campaign", "Team offsite", "Welcome aboard", "Summer sale", "Product launch",
    "Customer survey", "Release notes", "Budget review", "Weekly digest", "Staff handbook",
    "Night shift rota", "New hire checklist", "Price list", "Photo archive", "Incident summary",
    "Board meeting", "Garden tour", "Field trip", "Holiday calendar", "Data cleanup", "Lunch menu",
    "Sales figures", "Road map",
)  # fmt: skip
TEXTS = (
    "used by the finance team", "temporary, remove after the launch", "created for the spring campaign",
    "please check before Friday", "customer asked for a refund", "moved to the new account",
    "no longer needed after the migration", "owned by the platform team", "nightly export for the warehouse",
    "the numbers look wrong since Monday", "requested by Maria in support", "first draft, not reviewed yet",
    "shared with our partners in Porto", "keeps the raw sensor readings", "replaces the old setup",
    "testing the new pricing", "approved by the security review", "wrong address on file",
    "back online after the outage", "for the summer interns",
)  # fmt: skip
QUERIES = (
    "late invoices", "failed logins", "red running shoes", "annual report", "solar panels", "coffee near me",
    "battery warranty", "vegan recipes", "unpaid orders", "remote work policy", "used bicycles",
    "jazz festivals", "winter tires", "camping gear", "password reset", "history of bridges",
    "delivery delays", "travel insurance",
)  # fmt: skip
# kind of value → what is said
LISTS: dict[str, tuple[str, ...]] = {
    "region": (
        "us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2", "ap-northeast-1",
        "sa-east-1", "ca-central-1", "eu-north-1", "us-east-2", "ap-south-1", "eu-west-3",
    ),
    "google region": (
        "us-central1", "europe-west1", "europe-west4", "asia-east1", "us-east4", "australia-southeast1",
        "southamerica-east1", "asia-northeast1", "us-west2", "europe-north1",
    ),
    "zone": (
        "us-east-1a", "us-east-1c", "eu-west-1b", "eu-central-1a", "ap-southeast-2b", "us-west-2d",
        "sa-east-1a",
    ),
    "google zone": (
        "us-central1-a", "europe-west1-b", "asia-east1-c", "us-east4-b", "europe-west4-a", "us-west2-c",
    ),
    "timezone": (
        "Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC", "Australia/Sydney", "America/Sao_Paulo",
        "Europe/London", "Asia/Kolkata", "Africa/Nairobi",
    ),
    "country": (
        "DE", "US", "JP", "BR", "FR", "IN", "CA", "ES", "NL", "SE", "MX", "PT",
    ),
    "language": (
        "en", "de", "fr", "es", "pt-BR", "ja", "en-US", "en-GB", "it", "ko", "nl", "sv",
    ),
    "currency": (
        "EUR", "USD", "GBP", "JPY", "CHF", "SEK", "CAD", "AUD", "BRL",
    ),
    "runtime": (
        "python3.12", "nodejs20.x", "java21", "ruby3.3", "dotnet8", "python3.11", "go1.22", "nodejs22.x",
    ),
    "engine": (
        "postgres", "mysql", "mariadb", "redis", "aurora-mysql", "aurora-postgresql", "valkey", "neptune",
    ),
    "machine": (
        "t3.micro", "m5.large", "c6g.xlarge", "r5.2xlarge", "t4g.small", "m7i.large", "c5.4xlarge",
        "g5.xlarge",
    ),
    "google machine": (
        "e2-medium", "n2-standard-4", "n1-standard-1", "c3-standard-8", "e2-small", "n2-highmem-8",
    ),
    "version": (
        "1.2", "2.0", "3", "14.7", "1.29", "8.0.35", "2.1.0", "5", "15.4", "0.9.1", "4.2", "7",
    ),
    "status": (
        "active", "pending", "failed", "completed", "running", "archived", "paused", "stopped",
    ),
    "city": (
        "Berlin", "Lisbon", "Osaka", "Denver", "Nairobi", "Toronto", "Lyon", "Austin", "Porto", "Helsinki",
    ),
    "postcode": (
        "10115", "94107", "75011", "SW1A 1AA", "60614", "1000-260", "M5V 2T6", "8004",
    ),
    "address": (
        "12 Elm Street", "48 Harbor Road", "221 Queen Street West", "7 Mill Lane", "9 Rue Lamarck",
        "310 Pine Avenue",
    ),
    "cidr": (
        "10.0.0.0/16", "172.31.0.0/20", "192.168.10.0/24", "10.20.4.0/22", "203.0.113.0/24", "10.8.0.0/21",
    ),
    "duration": (
        "PT1H", "PT30M", "P1D", "P7D",
    ),
}  # fmt: skip
# last word of a parameter's name → what is said
WORDS: dict[str, tuple[str, ...]] = {
    "role": (
        "admin", "viewer", "editor", "owner", "operator", "auditor", "billing",
    ),
    "format": (
        "csv", "json", "parquet", "pdf", "xml", "mp4", "png",
    ),
    "protocol": (
        "https", "tcp", "udp", "http", "tls", "sftp",
    ),
    "size": (
        "small", "medium", "large", "xlarge", "compact",
    ),
    "service": (
        "billing", "search", "checkout", "catalog", "notifications", "identity", "shipping",
    ),
    "color": (
        "red", "blue", "teal", "orange", "grey", "purple",
    ),
    "level": (
        "low", "medium", "high", "info", "warning", "error",
    ),
    "platform": (
        "linux", "windows", "android", "ios", "macos",
    ),
    "tier": (
        "standard", "premium", "basic", "free", "enterprise",
    ),
    "unit": (
        "bytes", "seconds", "percent", "count", "hours",
    ),
    "attribute": (
        "color", "owner", "created_at", "status", "price", "team", "region",
    ),
    "field": (
        "status", "owner", "created_at", "price", "title", "region",
    ),
}  # fmt: skip
# what a thing's ids begin with
PREFIXES = {
    "instance": "i", "volume": "vol", "snapshot": "snap", "image": "ami", "group": "sg", "subnet": "subnet",
    "vpc": "vpc", "gateway": "gw", "table": "rtb", "interface": "eni", "endpoint": "vpce",
}  # fmt: skip
# words of a number's name → sensible least and most
RANGES: tuple[tuple[str, int, int], ...] = (
    ("port", 1024, 9000), ("percent|ratio|percentage", 5, 95), ("days", 1, 90), ("hours", 1, 72),
    ("minutes", 5, 120), ("seconds|timeout|ttl", 10, 900), ("millis|ms", 100, 5000),
    ("gb|gib|storage|disk|size", 10, 500), ("mb|memory", 128, 4096), ("year", 2020, 2026), ("month", 1, 12),
    ("day", 1, 28), ("hour", 0, 23), ("id", 1000, 99999), ("width|height", 100, 2000), ("min|minimum", 1, 4),
    ("max|maximum", 5, 40), ("version", 1, 20), ("price|amount|budget|cost", 5, 900),
)  # fmt: skip
