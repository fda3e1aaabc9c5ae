export { formatAge, formatBytes, formatDuration, plural } from '@dmaas/core';
