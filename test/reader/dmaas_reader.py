#!/usr/bin/env python3
"""Lists, verifies and restores backups of DMaaS from a copy of the bucket and the key. Written from core/DESIGN.md alone (sections in brackets).

    dmaas_reader.py --repository DIR --key-file FILE list | verify [BACKUP] | manifests BACKUP | restore BACKUP CLAIM TARGET

DIR is a directory with the objects of one repository (it holds dmaas.json), or of a location (directories that each hold `source`; then the
key is the location's, and --namespace chooses). Instead of --key-file: --passphrase-file or --recovery-key-file. Needs Python 3.9 or later
with `cryptography`, and `zstandard`. Never writes below DIR.
"""
import argparse, base64, hashlib, hmac, json, os, re, stat, struct, sys, unicodedata, zlib

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

MAX_PLAIN = 64 << 20  # [9]
TYPES = {"config": 0, "pack": 1, "segment": 2, "backup": 3, "source": 5}


class Damaged(Exception):
    pass


class TooNew(Exception):
    pass


def hkdf(secret, info, salt=b""):
    return HKDF(hashes.SHA256(), 32, salt, info if isinstance(info, bytes) else info.encode()).derive(secret)


def mac(key, data, digest="sha256"):
    return hmac.new(key, data if isinstance(data, bytes) else data.encode(), digest).digest()


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def parse_key(text, prefix="dmaas-key-1-"):  # [3.1]
    text = text.strip().lower()
    if not text.startswith(prefix):
        raise SystemExit(f"error: this is no key: one begins with {prefix}")
    body = text[len(prefix):].upper()
    raw = base64.b32decode(body + "=" * (-len(body) % 8))
    if len(raw) != 36 or hashlib.sha256(raw[:32]).digest()[:4] != raw[32:]:
        raise SystemExit("error: the key is mistyped or cut short")
    return raw[:32]


# --- sealed things [3.3, 4.1]


def check_header(data, key, kind):
    if len(data) < 16 or data[:4] != b"DMAS":
        raise Damaged(f"{key} does not begin as it should")
    if data[6] > 1 or data[8:12] != bytes(4):
        raise TooNew(f"{key} needs a newer reader")
    if data[4] != TYPES[kind]:
        raise Damaged(f"{key} is of another type")


def open_section(meta, header, repository_id, key, number, sealed):
    aad = header + repository_id + struct.pack("<I", number) + key.encode()
    try:
        return AESGCM(mac(meta, key)).decrypt(sealed[:12], sealed[12:], aad)
    except InvalidTag:
        raise Damaged(f"section {number} of {key} is not what was sealed") from None


def unpack(packed, key, limit=MAX_PLAIN):  # u8 codec, payload
    if packed[0] == 0:
        return packed[1:]
    if packed[0] != 1:
        raise Damaged(f"{key} is packed in an unknown way")
    size = zstandard.frame_content_size(packed[1:])
    if not 0 <= size <= limit:
        raise Damaged(f"{key} declares an impossible size")
    data = zstandard.ZstdDecompressor().decompress(packed[1:], max_output_size=max(size, 1)) if size else b""
    if len(data) != size:
        raise Damaged(f"{key} is not as large as it says")
    return data


def trailer(data, key):
    last, crc, zero, magic = struct.unpack("<III4s", data[-16:])
    if magic != b"DMTR" or zero or last > len(data) - 32 or zlib.crc32(data[:-16]) != crc:
        raise Damaged(f"{key} is damaged")
    return last


# --- keys [3.2]


class Secret:
    """What opens wraps: `kind` and the key, passphrase or private key."""

    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    def kek(self, wrap):
        if wrap["kind"] != self.kind:
            return None
        salt = base64.b64decode(wrap["salt"])
        if self.kind == "key":
            return hkdf(self.value, "dmaas/v1/wrap", salt)
        if self.kind == "passphrase":
            if wrap["kdf"] != "scrypt" or wrap["logN"] > 20 or wrap["r"] > 16 or wrap["p"] > 16:
                return None
            text = unicodedata.normalize("NFC", self.value).encode()
            return hkdf(Scrypt(salt, 32, 2 ** wrap["logN"], wrap["r"], wrap["p"]).derive(text), "dmaas/v1/wrap", salt)
        private = X25519PrivateKey.from_private_bytes(self.value)
        recipient, ephemeral = base64.b64decode(wrap["recipient"]), base64.b64decode(wrap["ephemeral"])
        shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        return hkdf(shared, "dmaas/v1/wrap/x25519", salt + ephemeral + recipient)

    def open(self, wrap, repository_id):
        kek = self.kek(wrap)
        if kek is None or mac(kek, "dmaas/v1/commitment")[:16] != base64.b64decode(wrap["commitment"]):
            return None
        sealed = base64.b64decode(wrap["sealed"])
        return json.loads(AESGCM(kek).decrypt(sealed[:12], sealed[12:], b"dmaas/v1/wrap" + repository_id))


class Repository:
    def __init__(self, root, secret):
        self.root = root
        config = json.loads(self.read("dmaas.json"))
        if config["minReader"] > 1 or config["required"]:
            raise TooNew("dmaas.json needs a newer reader")
        self.id = bytes.fromhex(config["repositoryId"])
        wraps = list(config["keys"])
        for key in self.list("keys"):
            try:
                other = json.loads(self.read(key))
                if other["repositoryId"] == config["repositoryId"]:
                    wraps += other["wraps"] if "wraps" in other else [other["wrap"]]
            except (ValueError, KeyError):
                print(f"warning: {key} cannot be read", file=sys.stderr)
        opened = []
        for wrap in wraps:
            try:
                key_set = secret.open(wrap, self.id)
            except (InvalidTag, ValueError, KeyError):
                key_set = None
            if key_set:
                opened.append(key_set)
        if not opened:
            raise SystemExit(f"error: the key does not open the repository at {root}")
        key_set = max(opened, key=lambda k: len(k["epochs"]))
        dedup = base64.b64decode(key_set["dedup"])
        self.id_keys = {kind: hkdf(dedup, f"dmaas/v1/id/{kind}") for kind in ("data", "node")}
        roots = {e["epoch"]: base64.b64decode(e["root"]) for e in key_set["epochs"]}
        self.data_keys = {e: hkdf(root, "dmaas/v1/data") for e, root in roots.items()}
        self.meta_keys = {e: hkdf(root, "dmaas/v1/meta") for e, root in roots.items()}
        header = b"DMAS" + bytes([0, 1, 1, 1]) + bytes(8)
        sealed = json.loads(open_section(self.meta_keys[1], header, self.id, "dmaas.json", 0, base64.b64decode(config["sealed"])))
        sealed.pop("parameters")
        if sealed != {k: v for k, v in config.items() if k not in ("keys", "sealed")}:
            raise Damaged("dmaas.json: its readable part is not what was sealed")
        self.rows, self.packs, self.frames = {}, {}, {}
        self.problems = []
        self.load_index()

    def read(self, key):
        with open(os.path.join(self.root, key), "rb") as file:
            return file.read()

    def list(self, folder):
        found = []
        for directory, _, names in os.walk(os.path.join(self.root, folder)):
            found += [os.path.relpath(os.path.join(directory, name), self.root) for name in names]
        return sorted(found)

    def section(self, data, key, number, sealed):
        meta = self.meta_keys.get(data[7])
        if meta is None:
            raise Damaged(f"{key} is sealed with an epoch that this key does not open")
        return open_section(meta, data[:16], self.id, key, number, sealed)

    # --- the index, and tables of packs that it does not name [4.3, 4.4]

    def load_index(self):
        for key in self.list("index"):
            data = self.read(key)
            if len(data) == 16 and data[4] == 8:
                continue  # a fence [7.1]
            try:
                check_header(data, key, "segment")
                last = trailer(data, key)
                directory = json.loads(unpack(self.section(data, key, 0, data[-16 - last:-16]), key))
                rows = b""
                for i, (_, offset, length) in enumerate(directory["blocks"]):
                    rows += self.section(data, key, i + 1, data[offset:offset + length])
                if len(rows) != 44 * directory["entries"]:
                    raise Damaged(f"{key} has not as many entries as it says")
                self.add_rows([(pack, ("data", "node")[kind]) for pack, kind, _ in directory["packs"]], rows)
            except Damaged as e:
                self.problems.append(str(e))
        for key in self.list("packs"):
            pack = os.path.basename(key)
            if pack in self.packs:
                continue
            try:
                data = self.read(key)
                check_header(data, key, "pack")
                table = self.section(data, key, 0, data[-16 - trailer(data, key):-16])
                count, = struct.unpack_from("<I", table)
                if count != 1 or table[4:20].hex() != pack:
                    raise Damaged(f"{key} has the table of another pack")
                self.add_rows([(pack, ("data", "node")[table[20]])], table[29:])
            except Damaged as e:
                self.problems.append(str(e))

    def add_rows(self, packs, rows):
        self.packs.update(packs)
        for at in range(0, len(rows), 44):
            pack, *place = struct.unpack_from("<IIIII", rows, at + 24)
            self.rows.setdefault(rows[at:at + 24], []).append((packs[pack][0], *place))

    # --- blobs [4.3]

    def frame(self, pack, offset, length):
        if (pack, offset) not in self.frames:
            with open(os.path.join(self.root, "packs", pack[:2], pack), "rb") as file:
                file.seek(offset)
                data = file.read(length)
            key = mac(self.data_keys[data[0]], data[1:17], "sha512")
            packed = AESGCM(key[:32]).decrypt(key[32:44], data[17:], b"dmaas/v1/frame" + self.id)
            if len(self.frames) > 16:
                self.frames.pop(next(iter(self.frames)))
            self.frames[pack, offset] = unpack(packed, f"packs/{pack[:2]}/{pack}", 16 << 20)
        return self.frames[pack, offset]

    def blob(self, id):
        for pack, offset, length, inner, size in self.rows.get(id, []):
            try:
                data = self.frame(pack, offset, length)[inner:inner + size]
            except (OSError, InvalidTag, KeyError, IndexError, Damaged):
                continue
            if mac(self.id_keys[self.packs[pack]], data)[:24] == id:
                return data
        raise Damaged(f"the blob {id.hex()} is lost")

    def kind(self, id):
        rows = self.rows.get(id)
        if not rows:
            raise Damaged(f"the blob {id.hex()} is nowhere")
        return self.packs[rows[0][0]]

    def node(self, id):  # [4.5]: type, references, payload
        data = self.blob(id)
        kind, version, zero, count = struct.unpack_from("<BBHI", data)
        if version != 1:
            raise TooNew(f"the node {id.hex()} needs a newer reader")
        end = 8 + 24 * count
        return kind, [data[i:i + 24] for i in range(8, end, 24)], data[end:]

    # --- backups [4.8]

    def backups(self):
        for key in self.list("backups"):
            data = self.read(key)
            if len(data) == 16 and data[4] == 8:
                continue
            try:
                check_header(data, key, "backup")
                record = json.loads(unpack(self.section(data, key, 0, data[16:]), key))
                if f"backups/{record['id']}" != key:
                    raise Damaged(f"{key} is the record of another backup")
                yield record
            except (Damaged, TooNew) as e:
                self.problems.append(str(e))

    def backup(self, which):
        found = [b for b in self.backups() if which in (b["id"], b["operation"], b["name"])]
        if len(found) != 1:
            raise SystemExit(f"error: {len(found)} backups are called {which}")
        return found[0]

    def walk(self, root):
        """Every blob below a root, each checked; yields (id, kind, data) of each occurrence."""
        kind = self.kind(root)
        yield root, kind, self.blob(root)
        if kind == "node":
            for reference in self.node(root)[1]:
                yield from self.walk(reference)


# --- trees [4.5, 4.6]


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    @property
    def done(self):
        return self.at >= len(self.data)

    def take(self, n):
        if self.at + n > len(self.data):
            raise Damaged("a tree is cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def sized(self):
        return self.take(self.varint())


def items(data, references):
    reader, found = Bytes(data), []
    while not reader.done:
        coded = reader.varint()
        found.append((coded >> 1, None if coded & 1 else next(references)))
    return found


def pieces(repository, id):
    """(length, blob id or None for a hole) below a content node."""
    kind, references, payload = repository.node(id)
    if kind != 4:
        raise Damaged(f"the node {id.hex()} is no content")
    reader = Bytes(payload)
    level, references = reader.varint(), iter(references)
    for length, reference in items(payload[reader.at:], references):
        if level:
            yield from pieces(repository, reference)
        else:
            yield length, reference


def entries(repository, id):
    kind, references, payload = repository.node(id)
    if kind == 3:
        for reference in references:
            yield from entries(repository, reference)
        return
    if kind != 2:
        raise Damaged(f"the node {id.hex()} is no tree")
    leaf, references, path = Bytes(payload), iter(references), b""
    while not leaf.done:
        body = Bytes(leaf.sized())
        path = path[:body.varint()] + body.sized()
        entry = {"path": path, "type": body.take(1)[0], "mode": body.varint(), "uid": body.varint(), "gid": body.varint()}
        entry["mtime"] = body.signed() * 10**9 + body.varint()
        body.signed(), body.varint()  # ctime
        entry["inode"], entry["size"] = body.varint(), body.varint()
        entry.update(pieces=[], xattrs=[])
        while not body.done:
            tag, value = body.varint(), body.sized()
            if tag == 1:
                entry["pieces"] = items(value, references)
            elif tag == 3:
                entry["pieces"] = pieces(repository, next(references))
            elif tag == 5:
                entry["target"] = value
            elif tag == 7:
                number = Bytes(value)
                entry["device"] = os.makedev(number.varint(), number.varint())
            elif tag == 9:
                entry["group"] = Bytes(value).varint()
            elif tag == 11:
                reader = Bytes(value)
                while not reader.done:
                    entry["xattrs"].append((reader.sized(), reader.sized()))
            elif tag % 2:
                raise TooNew(f"an entry has an attribute {tag} that this reader does not know")
        yield entry


def write_pieces(repository, file, all_pieces, size):
    at = 0
    for length, id in all_pieces:
        if id is not None:
            data = repository.blob(id)
            if len(data) != length:
                raise Damaged("a piece has another length")
            os.pwrite(file, data, at)
        at += length
    if at != size:
        raise Damaged("a file has content of another size")
    os.ftruncate(file, size)


def restore(repository, volume, target):
    kind, references, payload = repository.node(bytes.fromhex(volume["root"]))
    description = json.loads(payload)
    if description["mode"] == "block":
        file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        write_pieces(repository, file, pieces(repository, references[0]), description["bytes"])
        return 0
    os.mkdir(target, 0o700)
    base, groups, last, problems = os.fsencode(target), {}, [], 0
    for entry in entries(repository, references[0]):
        names = entry["path"].split(b"\0") if entry["path"] else []
        if any(name in (b"", b".", b"..") or b"/" in name for name in names):
            raise Damaged("a tree has an impossible name")
        path = os.path.join(base, *names)
        if entry.get("group") in groups:
            os.link(groups[entry["group"]], path, follow_symlinks=False)
            continue
        if "group" in entry:
            groups[entry["group"]] = path
        kind = entry["type"]
        if kind == 1:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                write_pieces(repository, file, entry["pieces"], entry["size"])
            except Damaged as e:
                problems += 1
                print(f"error: {os.fsdecode(path)}: {e}", file=sys.stderr)
            os.close(file)
        elif kind == 2 and names:
            os.mkdir(path, 0o700)
        elif kind == 3:
            os.symlink(entry["target"], path)
        elif kind != 2:
            os.mknod(path, {4: stat.S_IFIFO, 5: stat.S_IFSOCK, 6: stat.S_IFCHR, 7: stat.S_IFBLK}[kind] | 0o600, entry.get("device", 0))
        if kind == 2:
            last.append((path, entry))
        else:
            problems += attributes(path, entry)
    for path, entry in reversed(last):  # what lies in a directory changes its time
        problems += attributes(path, entry)
    return problems


def attributes(path, entry):
    problems = 0

    def attempt(what, call):
        nonlocal problems
        try:
            call()
        except OSError as e:
            problems += 1
            print(f"warning: {os.fsdecode(path)}: {what} could not be set ({e.strerror})", file=sys.stderr)

    attempt("owner", lambda: os.chown(path, entry["uid"], entry["gid"], follow_symlinks=False))
    if entry["type"] != 3:
        attempt("mode", lambda: os.chmod(path, entry["mode"]))
    for name, value in entry["xattrs"]:
        attempt(os.fsdecode(name), lambda: os.setxattr(path, name, value, follow_symlinks=False))
    attempt("time", lambda: os.utime(path, ns=(entry["mtime"], entry["mtime"]), follow_symlinks=False))
    return problems


# --- the command line


def repositories(root, secret, namespace):
    if os.path.exists(os.path.join(root, "dmaas.json")):
        yield "", Repository(root, secret)
        return
    for directory in sorted(os.listdir(root)):  # a location [3.1]
        source = os.path.join(root, directory, "source")
        if not re.fullmatch("[a-z2-7]{26}", directory) or not os.path.exists(source):
            continue
        with open(source, "rb") as file:
            data = file.read()
        try:
            check_header(data, "source", "source")
            key = f"{directory}/source"
            scope = json.loads(open_section(hkdf(secret.value, "dmaas/v1/source"), data[:16], bytes(16), key, 0, data[16:]))
        except Damaged:
            continue  # of another location key
        if namespace not in (None, scope["namespace"]):
            continue
        text = f"{scope['clusterId']}\0{scope['namespace']}".encode()
        unlock = hkdf(secret.value, b"dmaas/v1/unlock\0" + text)
        yield scope["namespace"], Repository(os.path.join(root, directory), Secret("key", unlock))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True)
    parser.add_argument("--key-file")
    parser.add_argument("--passphrase-file")
    parser.add_argument("--recovery-key-file")
    parser.add_argument("--namespace")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("verify").add_argument("backup", nargs="?")
    commands.add_parser("manifests").add_argument("backup")
    sub = commands.add_parser("restore")
    for name in ("backup", "claim", "target"):
        sub.add_argument(name)
    args = parser.parse_args()

    def text(path):
        with open(path, encoding="utf8") as file:
            return file.read()

    if args.key_file:
        secret = Secret("key", parse_key(text(args.key_file)))
    elif args.passphrase_file:
        secret = Secret("passphrase", text(args.passphrase_file).rstrip("\n"))
    elif args.recovery_key_file:
        secret = Secret("x25519", parse_key(text(args.recovery_key_file), "dmaas-recovery-1-"))
    else:
        parser.error("one of --key-file, --passphrase-file and --recovery-key-file is needed")

    problems = 0
    found = list(repositories(args.repository, secret, args.namespace))
    if not found:
        raise SystemExit("error: nothing here opens with this key")
    for namespace, repository in found:
        if args.command == "list":
            for backup in repository.backups():
                claims = ",".join(volume["claim"] for volume in backup["volumes"])
                print(backup["id"], backup["name"], namespace or backup["app"]["namespace"] or "-", claims or "-", sep="\t")
        elif args.command == "verify":
            for backup in [repository.backup(args.backup)] if args.backup else repository.backups():
                digest = {}
                for root in [backup["manifests"], *(volume["root"] for volume in backup["volumes"])]:
                    try:
                        digest[root] = [hashlib.sha256(d).hexdigest() for _, kind, d in repository.walk(bytes.fromhex(root)) if kind == "data"]
                    except Damaged as e:
                        repository.problems.append(f"{backup['id']}: {e}")
                print(json.dumps({"backup": backup["id"], "data": digest}))
        elif args.command == "manifests":
            _, references, payload = repository.node(bytes.fromhex(repository.backup(args.backup)["manifests"]))
            for member in json.loads(payload)["members"]:
                print(repository.blob(references[member["ref"]]).decode())
        else:
            volumes = [v for v in repository.backup(args.backup)["volumes"] if v["claim"] == args.claim]
            if len(volumes) != 1:
                raise SystemExit(f"error: the backup has {len(volumes)} volumes called {args.claim}")
            problems += restore(repository, volumes[0], args.target)
        for problem in repository.problems:
            print(f"error: {problem}", file=sys.stderr)
        problems += len(repository.problems)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Damaged, TooNew) as error:
        sys.exit(f"error: {error}")
