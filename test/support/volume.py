"""Makes and describes directory trees with nothing of DMaaS. Reads one request a line, and answers each with a line of JSON:

    {"build": DIRECTORY, "spec": [ENTRY ...]}   parents first; names, targets and extended attributes in hex
    {"describe": DIRECTORY}                     gives everything that a backup must keep, sorted by path
"""

import hashlib
import json
import os
import socket
import stat
import sys


def main():
    for line in sys.stdin:
        request = json.loads(line)
        if 'build' in request:
            answer = build(os.fsencode(request['build']), request['spec'])
        else:
            answer = describe(os.fsencode(request['describe']))
        print(json.dumps(answer), flush=True)


def path_of(root, entry):
    return b'/'.join([root] + [bytes.fromhex(name) for name in entry['path']])


def build(root, spec):
    os.umask(0)
    for entry in spec:
        make(path_of(root, entry), entry, root)
    # Bottom up: whatever is made in a directory changes its time.
    for entry in reversed(spec):
        if 'link' not in entry:
            set_attributes(path_of(root, entry), entry)


def make(path, entry, root):
    kind = entry['type']
    if 'link' in entry:
        os.link(path_of(root, {'path': entry['link']}), path, follow_symlinks=False)
    elif kind == 'directory':
        if entry['path']:
            os.mkdir(path, 0o700)
    elif kind == 'file':
        write_file(path, entry['content'])
    elif kind == 'symlink':
        os.symlink(bytes.fromhex(entry['target']), path)
    elif kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as made:
            # A socket's address is short: bind it where it lies, and name it later.
            here = os.open('.', os.O_RDONLY)
            os.chdir(os.path.dirname(path))
            made.bind(b'.bind')
            os.rename(b'.bind', os.path.basename(path))
            os.fchdir(here)
            os.close(here)
    else:
        kinds = {'character-device': stat.S_IFCHR, 'block-device': stat.S_IFBLK}
        os.mknod(path, kinds[kind] | 0o600, os.makedev(*entry['device']))


def write_file(path, pieces):
    """Pieces are [length] for a hole, [length, seed] for data."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    at = 0
    for length, *seed in pieces:
        if seed:
            os.pwrite(fd, data(seed[0], length), at)
        at += length
    os.ftruncate(fd, at)
    os.close(fd)


def data(seed, length):
    return hashlib.shake_128(str(seed).encode()).digest(length)


def set_attributes(path, entry):
    os.chown(path, entry['uid'], entry['gid'], follow_symlinks=False)
    if entry['type'] != 'symlink':
        os.chmod(path, entry['mode'])
    for name, value in entry.get('xattrs', {}).items():
        os.setxattr(path, bytes.fromhex(name), bytes.fromhex(value), follow_symlinks=False)
    time = int(entry['mtimeNs'])
    os.utime(path, ns=(time, time), follow_symlinks=False)


def describe(root):
    found, inodes = [], {}

    def visit(path, names):
        info = os.lstat(path)
        found.append(describe_one(path, names, info, inodes))
        if stat.S_ISDIR(info.st_mode):
            for name in os.listdir(path):
                if names or name != b'lost+found':
                    visit(os.path.join(path, name), names + [name])

    visit(root, [])
    found.sort(key=lambda entry: [bytes.fromhex(name) for name in entry['path']])
    for entry in found:
        # An inode is named by the first path it has.
        if entry['inode'] is not None:
            entry['inode'] = inodes.setdefault(('first', entry['inode']), entry['path'])
    return found


def describe_one(path, names, info, inodes):
    kinds = {
        stat.S_IFREG: 'file', stat.S_IFDIR: 'directory', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo',
        stat.S_IFSOCK: 'socket', stat.S_IFCHR: 'character-device', stat.S_IFBLK: 'block-device',
    }
    kind = kinds[stat.S_IFMT(info.st_mode)]
    entry = {
        'path': [name.hex() for name in names], 'type': kind, 'mode': stat.S_IMODE(info.st_mode), 'uid': info.st_uid,
        'gid': info.st_gid, 'mtimeNs': str(info.st_mtime_ns),
        'inode': info.st_ino if kind != 'directory' and info.st_nlink > 1 else None,
        'xattrs': {os.fsencode(name).hex(): os.getxattr(path, name, follow_symlinks=False).hex()
                   for name in sorted(os.listxattr(path, follow_symlinks=False))},
    }
    if kind == 'file':
        entry['size'] = info.st_size
        entry['sha256'], entry['data'] = read_file(path, info.st_size)
    if kind == 'symlink':
        entry['target'] = os.readlink(path).hex()
    if kind.endswith('device'):
        entry['device'] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    return entry


def read_file(path, size):
    digest, ranges = hashlib.sha256(), []
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    while piece := os.read(fd, 1 << 20):
        digest.update(piece)
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append([start, at])
    os.close(fd)
    return digest.hexdigest(), ranges


main()
