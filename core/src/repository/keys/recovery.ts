export const RECOVERY = 'RECOVERY.txt';

/** What stands in it: for whoever finds the bucket and nothing else. Tells nothing about what is stored. */
export function recoveryText(): Uint8Array {
  return Buffer.from(
    [
      'This folder is a repository of DMaaS: encrypted backups of a Kubernetes application and its volumes.',
      '',
      'Nothing else is needed to restore them but this folder and its key. The key begins with "dmaas-key-1-".',
      'It is in the Secret of the backup location, and wherever its owner keeps a copy; without it the content is lost.',
      '',
      'To list and restore backups, install the kubectl plugin of DMaaS (`kubectl dmaas`), add this bucket as a location',
      'with the key, and run `kubectl dmaas backup list` and `kubectl dmaas restore create`.',
      'The cluster the backups were made in need not exist any more.',
      '',
      'Without DMaaS, a program of one file does it, from a copy of this folder (FOLDER) and a file with the key (KEY). It is in Python, with the packages',
      '"cryptography" and "zstandard": test/reader/dmaas_reader.py in the sources of DMaaS. Keep a copy of it with the key.',
      '',
      '    python3 dmaas_reader.py --repository FOLDER --key-file KEY list',
      '    python3 dmaas_reader.py --repository FOLDER --key-file KEY manifests BACKUP',
      '    python3 dmaas_reader.py --repository FOLDER --key-file KEY restore BACKUP CLAIM TARGET',
      '',
      'If there is a file "source" here, the key may be that of the whole location: then FOLDER is the folder above this one, and --namespace chooses.',
      '',
      'The format is described, byte for byte, in core/DESIGN.md of DMaaS. This is format version 1.',
      'Do not change or delete single files here: every one of them is needed.',
      '',
    ].join('\n'),
  );
}
