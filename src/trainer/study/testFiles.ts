/** The test files of a study, told apart by their contents. */
import { hashFile } from '../../data/prepare';
import type { TestHashes } from '../../study/design';
import type { StudyContext } from '../../study/plan';
import type { StudyConfig } from '../../study/studyConfig';

/** @throws DotaError `file.missing`, `file.unreadable` */
export async function testHashes(study: StudyConfig, context: StudyContext): Promise<TestHashes> {
  const hashes = new Map<string, string>();
  for (const [task, { test }] of Object.entries(study.tasks)) {
    if (test !== undefined) hashes.set(task, await hashFile(context.resolve(test)));
  }
  return hashes;
}
