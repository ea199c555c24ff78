#!/usr/bin/env python3
"""Writes components.schemas of openapi.json anew from the described structs and enums of src/model.

Paths are written by hand and stay as they are. A test compares both with the code, so this is a convenience and not the
truth. Usage: docs/api/update_schemas.py
"""
import json
import re
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = [HERE.parent.parent / "src" / "model" / name for name in ("fleet_types.h", "agent_types.h", "api_types.h", "session_types.h")]

# What a request must name; all else has a default. Types not listed here are answers: all but optional fields are there.
REQUESTS = {
    "CreateVm": ["id", "spec"], "VmSpec": ["image"], "Port": ["name", "guest"],
    "DiskOrigin": ["disk", "snapshot"], "CreateSnapshot": ["name"], "CreateDisk": ["name"], "AttachDisk": ["vm"], "CreateNetwork": ["id"], "JoinNetwork": ["network"], "GrowDisk": ["size_bytes"], "KeepDisk": [], "RestoreDisk": ["snapshot"],
    "SeenSnapshot": ["disk", "request"],
    "CreateImage": ["id", "kernel_bytes", "kernel_sha256"],
    "CreateDrain": ["worker"], "DrainOptions": [], "MigrateVm": [], "CordonWorker": ["reason"],
    "Registration": ["worker", "boot_id"], "AgentReport": ["worker", "boot_id", "agent_run"], "SeenVm": ["vm", "state"],
    "VmTimings": [], "GuestCommand": ["words"], "HealthCheck": ["kind"], "SessionOutput": ["sequence"], "SessionInput": ["input"],
}
INTEGERS = {
    "std::uint16_t": {"type": "integer", "minimum": 0, "maximum": 65535},
    "std::uint32_t": {"type": "integer", "minimum": 0},
    "std::uint64_t": {"type": "integer", "minimum": 0},
    "Epoch": {"type": "integer", "minimum": 0},
    "WallMs": {"type": "integer", "format": "int64", "description": "milliseconds since 1970, UTC"},
}
PLAIN = {"std::string": {"type": "string"}, "bool": {"type": "boolean"}, "double": {"type": "number"},
         "Labels": {"type": "object", "additionalProperties": {"type": "string"}}}


def split_arguments(text):
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += c in "<({"
        depth -= c in ">)}"
        if c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return parts + [text[start:].strip()]


def schema_of(cpp_type):
    if cpp_type in INTEGERS:
        return dict(INTEGERS[cpp_type])
    if cpp_type in PLAIN:
        return json.loads(json.dumps(PLAIN[cpp_type]))
    if cpp_type.endswith("Id"):
        return {"type": "string"}
    template = re.fullmatch(r"std::(optional|vector|map)<(.*)>", cpp_type)
    if not template:
        return {"$ref": f"#/components/schemas/{cpp_type}"}
    arguments = split_arguments(template.group(2))
    if template.group(1) == "optional":
        return schema_of(arguments[0])
    if template.group(1) == "vector":
        return {"type": "array", "items": schema_of(arguments[0])}
    return {"type": "object", "additionalProperties": schema_of(arguments[1])}


def with_description(schema, text):
    if not text:
        return schema
    if "$ref" in schema:
        return {"allOf": [schema], "description": text}
    return {**schema, "description": text}


def members_of(body):
    """name -> (type, comment) of the plain data members."""
    members = {}
    for line in body.splitlines():
        code, _, comment = line.partition("//")
        match = re.match(r"\s*((?:std::\w+|[A-Z]\w*|bool|double)(?:<.*>)?)\s+(\w.*);\s*$", code)
        if not match or "(" in re.split(r"[={]", match.group(2))[0]:
            continue
        for declarator in split_arguments(match.group(2)):
            members[re.split(r"[={]", declarator)[0].strip()] = (match.group(1), comment.strip())
    return members


def comment_before(text, position):
    lines = []
    for line in reversed(text[:position].rstrip("\n").split("\n")):
        if not line.startswith("//") or line.startswith("// ----"):
            break
        lines.insert(0, line.lstrip("/").strip())
    # A diagram is of no use when its lines are joined.
    return "" if any("->" in line and line.count("->") > 1 for line in lines) else " ".join(lines).strip()


def read_header(text, schemas):
    for match in re.finditer(r"BOOST_DESCRIBE_(STRUCT|ENUM)\(([^()]*?),(?:\s*\(\),\s*\((.*?)\)|(.*?))\)", text, re.S):
        kind, name = match.group(1), match.group(2).strip()
        names = [n.strip() for n in (match.group(3) or match.group(4)).split(",")]
        if kind == "ENUM":
            start = re.search(rf"enum class {name}\b", text).start()
            schemas[name] = with_description({"type": "string", "enum": names}, comment_before(text, start))
            continue
        page = re.fullmatch(r"Page<(\w+)>", name)
        if page:
            item = page.group(1)
            schemas[item + "Page"] = {"type": "object", "required": ["items"], "properties": {
                "items": {"type": "array", "items": schema_of(item)},
                "next_page_token": {"type": "string", "description": "absent on the last page"}}}
            continue
        start = re.search(rf"struct {name} \{{(.*?)\n\}};", text, re.S)
        members = members_of(start.group(1))
        schema = {"type": "object"}
        required = REQUESTS.get(name, [n for n in names if not members[n][0].startswith("std::optional")])
        if required:
            schema["required"] = required
        if name in REQUESTS:
            schema["additionalProperties"] = False
        schema["properties"] = {n: with_description(schema_of(members[n][0]), members[n][1]) for n in names}
        schemas[name] = with_description(schema, comment_before(text, start.start()))


def pretty(value, indent=""):
    """JSON in which everything that fits a line is on one."""
    short = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(short) <= 118 or not isinstance(value, (dict, list)):
        return short
    inner = indent + " "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + pretty(v, inner) for v in value) + "\n" + indent + "]"
    parts = (f"{inner}{json.dumps(k)}: {pretty(v, inner)}" for k, v in value.items())
    return "{\n" + ",\n".join(parts) + "\n" + indent + "}"


def main():
    path = HERE / "openapi.json"
    document = json.loads(path.read_text())
    schemas = {}
    for header in HEADERS:
        read_header(header.read_text(), schemas)
    document["components"]["schemas"] = schemas
    path.write_text(pretty(document) + "\n")
    print(f"{path.name}: {len(document['paths'])} paths, {len(schemas)} schemas")


if __name__ == "__main__":
    main()
