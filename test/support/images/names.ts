/**
 * The name of an image of ours, as in `imageName('web:1')`. No registry is behind dmaas.test: clusters get the images
 * imported. For clusters that pull, DMAAS_TEST_IMAGE_PREFIX names the repository where the user has put them.
 */
export function imageName(nameAndTag: string): string {
  return `${process.env['DMAAS_TEST_IMAGE_PREFIX'] ?? 'dmaas.test'}/${nameAndTag}`;
}
