export const RECOVERY = 'RECOVERY.txt';

/** What stands in it: for whoever finds the bucket and nothing else. Tells nothing about what is stored. `ofLocation`: its key is that of a location. */
export function recoveryText(ofLocation: boolean): Uint8Array {
  const [of, key] = ofLocation
    ? [
        'Kubernetes applications and their volumes',
        'It is in the Secret of the backup location, in the file that `kubectl dmaas location export` wrote,',
      ]
    : ['directories and devices', 'It is in the key file that `kubectl dmaas repository init` wrote,'];
  return Buffer.from(
    [
      `This folder is a repository of DMaaS: encrypted backups of ${of}.`,
      '',
      'Nothing else is needed to restore them but this folder and its key. The key begins with "dmaas-key-1-".',
      key,
      'and wherever its owner keeps a copy; without it the content is lost.',
      '',
      'Install the kubectl plugin of DMaaS (`kubectl dmaas`), write the key to a file (KEY), and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or',
      'GOOGLE_APPLICATION_CREDENTIALS. No cluster is needed to list what is here, and to restore volumes to the machine you are at:',
      '',
      '    kubectl dmaas volume list --repository URL --key-file KEY',
      '    kubectl dmaas volume restore BACKUP TARGET --claim CLAIM --repository URL --key-file KEY',
      '',
      'URL is that of this folder: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or, of a copy, file:///FOLDER. --endpoint names a server that is not of AWS or Google.',
      '',
      ...(ofLocation ? APPLICATIONS : []),
      'Without DMaaS, a program of one file does it, from a copy of this folder (FOLDER) and a file with the key (KEY). It is in Python, with the packages',
      '"cryptography" and "zstandard": test/reader/dmaas_reader.py in the sources of DMaaS. Keep a copy of it with the key.',
      '',
      '    python3 dmaas_reader.py --repository FOLDER --key-file KEY list',
      '    python3 dmaas_reader.py --repository FOLDER --key-file KEY manifests BACKUP',
      '    python3 dmaas_reader.py --repository FOLDER --key-file KEY restore BACKUP CLAIM TARGET',
      '',
      ...(ofLocation ? ['FOLDER is the one above this one, which holds the repositories of all namespaces; --namespace chooses.', ''] : []),
      'The format is described, byte for byte, in core/DESIGN.md of DMaaS. This is format version 1.',
      'Do not change or delete single files here: every one of them is needed.',
      '',
    ].join('\n'),
  );
}

const APPLICATIONS: readonly string[] = [
  'To list the backups of all namespaces, and to restore applications into the cluster of your kubeconfig, which need not be the one they come from:',
  '',
  '    kubectl dmaas location recover lab --url ABOVE --key-file KEY -f lab.yaml',
  '    kubectl dmaas backup list --location-file lab.yaml',
  '    kubectl dmaas restore create BACKUP --location-file lab.yaml --to-namespace NAMESPACE',
  '',
  'ABOVE is the URL of the folder above this one.',
  '',
];
