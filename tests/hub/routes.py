"""What the test Hub answers to each request of the ``huggingface_hub`` client.

As on the real Hub:

- A small file is sent from this host (307), an LFS file from another origin (302 to http://localhost in place of
  http://127.0.0.1), so that a test can see that no token goes there.
- A private repository looks like a missing one: 401 without a token, 404 with another user's.
- A read-only token gets 403 on writes, a ``parentCommit`` that is not the head any more 412, and a commit is checked
  whole before any of it is visible.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote

import yaml

from tests.hub.request import Answer, Part, Request, find_repo, require_writer
from tests.hub.store import LFS_SUFFIXES, LFS_THRESHOLD, Commit, Entry, Refusal, Store, Tree

Route = Callable[..., Answer]


# Repositories, and who may do what


def whoami(ask: Request) -> Answer:
    if not ask.user:
        raise Refusal(401, "Invalid username or password.")
    return Answer({"type": "user", "orgs": [], **asdict(ask.user)})


def create_repo(ask: Request) -> Answer:
    wanted = ask.json()
    owner = wanted.get("organization") or (ask.user.name if ask.user else "")
    repo_id = f"{owner}/{wanted['name']}"
    require_writer(ask.user, owner)
    url = f"{ask.origin}/{repo_id}"
    if repo_id in ask.store.repos:
        return Answer({"error": "You already created this model repo", "url": url}, 409)
    ask.store.create(repo_id, private=bool(wanted.get("private")) or wanted.get("visibility") == "private")
    return Answer({"url": url, "name": repo_id, "id": repo_id})


def auth_check(ask: Request, repo: str, write: str | None) -> Answer:
    find_repo(ask, repo, write=bool(write), files=True)
    return Answer({})


def repo_info(ask: Request, repo: str, revision: str | None) -> Answer:
    found = find_repo(ask, repo)
    commit = found.resolve(revision or "main")
    card = _card(ask.store, commit.tree)
    if "blobs=true" in ask.query.lower():
        siblings = [_item(path, entry, "rfilename", "blobId", "sha256") for path, entry in sorted(commit.tree.items())]
    else:
        siblings = [{"rfilename": path} for path in sorted(commit.tree)]
    known = {key: card.get(key) for key in ("library_name", "pipeline_tag", "model-index")}
    about = {"id": repo, "author": found.owner, "private": found.private, "gated": found.gated, **known}
    content = {"cardData": card, "tags": card.get("tags") or [], "siblings": siblings}
    return Answer({**about, **content, "sha": commit.id, "lastModified": commit.date})


def validate_yaml(ask: Request) -> Answer:
    try:
        found = _header(ask.json()["content"])
    except Refusal as refused:
        return Answer({"errors": [{"message": refused.message}], "warnings": []}, 400)
    warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
    return Answer({"errors": [], "warnings": warnings})


# Trees, refs, commits


def tree(ask: Request, repo: str, revision: str, path: str | None) -> Answer:
    """Files and folders in ``path``; with ``recursive`` also those further below."""
    start = f"{path}/" if path else ""
    files = find_repo(ask, repo).resolve(revision).tree
    below = {name: entry for name, entry in sorted(files.items()) if name.startswith(start)}
    if path and not below:
        raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
    parents = {str(parent) for name in below for parent in PurePosixPath(name).parents}
    folders = [folder for folder in sorted(parents) if folder.startswith(start) and folder != "."]
    listed = [*map(_folder, folders), *(_item(name, entry) for name, entry in below.items())]
    is_deep = "recursive=true" in ask.query.lower()
    return Answer([each for each in listed if is_deep or "/" not in str(each["path"]).removeprefix(start)])


def paths_info(ask: Request, repo: str, revision: str) -> Answer:
    files = find_repo(ask, repo).resolve(revision).tree
    asked = parse_qs(b"".join(ask.body()).decode()).get("paths", [])
    folders = [path for path in asked if any(name.startswith(f"{path}/") for name in files)]
    return Answer([*map(_folder, folders), *(_item(path, files[path]) for path in asked if path in files)])


def refs(ask: Request, repo: str) -> Answer:
    found = find_repo(ask, repo).refs

    def below(start: str) -> list[dict[str, str]]:
        names = [ref for ref in found if ref.startswith(start)]
        return [{"name": ref.removeprefix(start), "ref": ref, "targetCommit": found[ref]} for ref in names]

    return Answer({"branches": below("refs/heads/"), "tags": below("refs/tags/"), "converts": [], "pullRequests": []})


def commits(ask: Request, repo: str, revision: str) -> Answer:
    found = find_repo(ask, repo)
    listed = []
    for commit in found.history(found.resolve(revision)):
        about = {"title": commit.title, "message": commit.message, "date": commit.date}
        listed.append({"id": commit.id, "authors": [{"user": commit.author}], **about})
    return Answer(listed)


def tag_or_branch(ask: Request, repo: str, what: str, name: str) -> Answer:
    """POST tag/{revision} {"tag": name}; POST branch/{name} {"startingPoint": revision}; DELETE either/{name}."""
    found, wanted = find_repo(ask, repo, write=True), ask.json()
    ref = f"refs/{'tags' if what == 'tag' else 'heads'}/{wanted.get('tag') or name}"
    if ask.method == "DELETE":
        if not found.refs.pop(ref, None):
            raise Refusal(404, f"No such reference: {ref}", "RevisionNotFound")
        return Answer()
    if ref in found.refs:
        raise Refusal(409, f"Reference already exists: {ref}")
    found.refs[ref] = found.resolve(name if what == "tag" else wanted.get("startingPoint") or "main").id
    return Answer()


# Push


def preupload(ask: Request, repo: str, revision: str) -> Answer:
    old = find_repo(ask, repo, write=True).resolve(revision).tree
    files = []
    for file in ask.json()["files"]:
        path = file["path"]
        lfs = file["size"] > LFS_THRESHOLD or path.lower().endswith(LFS_SUFFIXES)
        oid = {"oid": old[path].etag} if path in old else {}  # lets the client leave out what has not changed
        files.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **oid})
    return Answer({"files": files})


def lfs_batch(ask: Request, repo: str) -> Answer:
    find_repo(ask, repo, write=True)
    objects = [{"oid": wanted["oid"], "size": wanted["size"]} for wanted in ask.json()["objects"]]
    for wanted in objects:
        if not ask.store.blob(wanted["oid"]).exists():
            link = {"href": f"{ask.origin}/_lfs/{wanted['oid']}"}
            wanted["actions"] = {"upload": link, "verify": link}
    return Answer({"transfer": "basic", "objects": objects})


def lfs_put(ask: Request, oid: str) -> Answer:
    ask.store.add_blob(ask.body(), expected=oid)
    return Answer(headers={"ETag": f'"{oid}"'})


def lfs_verify(ask: Request, oid: str) -> Answer:
    size, blob = ask.json()["size"], ask.store.blob(oid)
    if not blob.exists() or blob.stat().st_size != size:
        raise Refusal(404, f"LFS object {oid} was not uploaded whole")
    return Answer({})


def commit(ask: Request, repo: str, revision: str) -> Answer:
    """One JSON object per line: a header, then operations. All are checked before anything is recorded."""
    found = find_repo(ask, repo, write=True)
    lines = [json.loads(line) for line in b"".join(ask.body()).splitlines()]
    head, header, ref = found.resolve(revision), lines[0]["value"], f"refs/heads/{revision}"
    if ref not in found.refs:
        raise Refusal(400, f"{revision} is not a branch")
    if not head.id.startswith(header.get("parentCommit") or ""):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.tree)
    for line in lines[1:]:
        files = _changed(ask.store, files, line["key"], line["value"])
    author = ask.user.name if ask.user else ""
    message = header.get("description") or ""
    made = ask.store.commit(found, ref, files, header["summary"], author=author, parent=head.id, message=message)
    return Answer({"commitOid": made.id, "commitUrl": f"{ask.origin}/{repo}/commit/{made.id}"})


def _changed(store: Store, files: Tree, operation: str, value: dict[str, str]) -> Tree:
    path = value["path"]
    if ".." in path.split("/") or path.startswith("/"):
        raise Refusal(400, f"Invalid path: {path}")
    if operation == "file":
        return {**files, path: store.small_entry(base64.b64decode(value["content"]))}
    if operation == "lfsFile" and store.blob(value["oid"]).exists():
        return {**files, path: store.lfs_entry(value["oid"])}
    if operation == "deletedFile" and path in files:
        return {name: entry for name, entry in files.items() if name != path}
    if operation == "deletedFolder":
        return {name: entry for name, entry in files.items() if not name.startswith(path.rstrip("/") + "/")}
    raise Refusal(400, f"{operation} {path}: no such operation, LFS object or file")


# Pull


def resolve(ask: Request, repo: str, revision: str, path: str) -> Answer:
    entry, commit, headers = _file(ask, repo, revision, path)
    headers |= {"X-Linked-Size": str(entry.size), "X-Linked-Etag": headers["ETag"]}
    if entry.pointer is not None:
        return Answer(status=302, headers={**headers, "Location": f"{ask.cdn}/_cdn/{entry.sha256}"})
    place = f"/api/resolve-cache/models/{repo}/{commit.id}/{quote(path)}"
    return Answer(status=307, headers={**headers, "Location": place})


def small_file(ask: Request, repo: str, revision: str, path: str) -> Answer:
    entry, _, headers = _file(ask, repo, revision, path)
    return _blob(ask, entry.sha256, headers)


def cdn(ask: Request, oid: str) -> Answer:
    return _blob(ask, oid, {"ETag": f'"{oid}"'})


def _file(ask: Request, repo: str, revision: str, path: str) -> tuple[Entry, Commit, dict[str, str]]:
    commit = find_repo(ask, repo, files=True).resolve(revision)
    if path not in commit.tree:
        raise Refusal(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.id})
    entry = commit.tree[path]
    return entry, commit, {"X-Repo-Commit": commit.id, "ETag": f'"{entry.etag}"'}


def _blob(ask: Request, sha256: str, headers: dict[str, str]) -> Answer:
    """A blob, or the range of it that was asked for: this is what lets a client resume."""
    path = ask.store.blob(sha256)
    size = path.stat().st_size
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", ask.range)
    if not wanted:
        return Answer(Part(path, 0, size), headers=headers)
    start, stop = int(wanted[1]), min(size, int(wanted[2]) + 1) if wanted[2] else size
    if start >= size:
        raise Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return Answer(Part(path, start, stop), 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"})


# What several of them need


def _item(path: str, entry: Entry, name: str = "path", oid: str = "oid", sha: str = "oid") -> dict[str, object]:
    """A file as ``tree`` shows it, and under other keys as ``repo_info`` does."""
    item: dict[str, object] = {"type": "file", name: path, oid: entry.oid, "size": entry.size}
    if entry.pointer is not None:
        item["lfs"] = {sha: entry.sha256, "size": entry.size, "pointerSize": entry.pointer}
    return item


def _folder(path: str) -> dict[str, object]:
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


def _card(store: Store, files: Tree) -> dict[str, Any]:
    if "README.md" not in files:
        return {}
    try:
        return _header(store.blob(files["README.md"].sha256).read_text("utf-8"))
    except (Refusal, UnicodeDecodeError):
        return {}


def _header(text: str) -> dict[str, Any]:
    """The YAML header of a model card; {} if there is none."""
    match = re.match(r"---\r?\n(.*?)\r?\n---\s*(\n|$)", text, re.DOTALL)
    try:
        data = (yaml.safe_load(match[1]) if match else None) or {}
    except yaml.YAMLError as error:
        raise Refusal(400, f"YAML metadata: {error}") from None
    if not isinstance(data, dict):
        raise Refusal(400, "YAML metadata must be a mapping")
    return data


_API = r"/api/(?:models|datasets)/(?P<repo>[^/]+/[^/]+)"  # a model and a data set cannot have one name here
_REVISION = "(?P<revision>[^/]+)"

ROUTES: list[tuple[str, str, Route]] = [  # methods, pattern of the whole path while it is still quoted, what answers
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create_repo),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("GET", f"{_API}(?:/revision/{_REVISION})?", repo_info),
    ("GET", f"{_API}/tree/{_REVISION}(?:/(?P<path>.+))?", tree),
    ("POST", f"{_API}/paths-info/{_REVISION}", paths_info),
    ("GET", f"{_API}/auth-check(?P<write>/write)?", auth_check),
    ("GET", f"{_API}/refs", refs),
    ("GET", f"{_API}/commits/{_REVISION}", commits),
    ("POST|DELETE", f"{_API}/(?P<what>tag|branch)/(?P<name>[^/]+)", tag_or_branch),
    ("POST", f"{_API}/preupload/{_REVISION}", preupload),
    ("POST", f"{_API}/commit/{_REVISION}", commit),
    ("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", "/_lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("POST", "/_lfs/(?P<oid>[0-9a-f]{64})", lfs_verify),
    ("GET|HEAD", f"(?:/datasets)?/(?P<repo>[^/]+/[^/]+)/resolve/{_REVISION}/(?P<path>.+)", resolve),
    ("GET|HEAD", f"{_API.replace('/api/', '/api/resolve-cache/')}/{_REVISION}/(?P<path>.+)", small_file),
    ("GET|HEAD", "/_cdn/(?P<oid>[0-9a-f]{64})", cdn),
]
UNLOCKED = (lfs_put, cdn)  # they move content, which may take long
