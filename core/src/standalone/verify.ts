import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import { lostFilesOf } from '../mover/lost-files.ts';
import type { RepairReport } from '../repository/repair.ts';
import type { Repository } from '../repository/repository.ts';
import type { VerifyDepth, VerifyShare } from '../repository/verify.ts';

/** As `Repository.verify`; what is lost is named by the files that it is missing from. */
export function verifyRepository(
  repository: Repository,
  depth: VerifyDepth,
  run: RunOptions,
  share?: VerifyShare,
): Promise<readonly Finding[]> {
  return repository.verify(depth, run, { share, nameLost: lostFilesOf(repository) });
}

/** As `Repository.repair`; its findings name files. */
export function repairRepository(repository: Repository, run: RunOptions): Promise<RepairReport> {
  return repository.repair(run, lostFilesOf(repository));
}
