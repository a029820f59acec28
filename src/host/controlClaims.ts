/**
 * Which of several windows controls a run. A window that watches a live run leaves a claim in the
 * extension's own storage (not in the workspace, which is untrusted); others then only observe. A
 * claim ends with its window, or when it has not been renewed.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isNumber, isObject, isString } from '../protocol/guards';

const renewEveryMs = 5000;
const staleAfterMs = 20_000;
export const observingReason = 'Another window controls this run; this one observes.';

interface Claim {
  session: string;
  pid: number;
}

export class ControlClaims {
  private readonly renewedAt = new Map<string, number>();

  /**
   * @param folder in the extension's storage
   * @param session identifies this window
   */
  constructor(
    private readonly folder: string,
    private readonly session: string,
    private readonly now: () => number = Date.now,
  ) {}

  /** Claims a run if nobody else does. @returns why this window only observes, or undefined */
  async claim(run: string): Promise<string | undefined> {
    const file = this.fileOf(run);
    const renewed = this.renewedAt.get(run);
    if (renewed !== undefined && this.now() - renewed < renewEveryMs) return undefined;
    const other = await this.read(file);
    if (other !== undefined && other.session !== this.session) {
      this.renewedAt.delete(run);
      return observingReason;
    }
    await this.write(run, file);
    return undefined;
  }

  /** Takes control from whoever has it. */
  async take(run: string): Promise<void> {
    await this.write(run, this.fileOf(run));
  }

  /** Gives up everything this window claimed. */
  async release(): Promise<void> {
    for (const run of this.renewedAt.keys()) {
      const file = this.fileOf(run);
      if ((await this.read(file))?.session === this.session) await rm(file, { force: true });
    }
    this.renewedAt.clear();
  }

  private fileOf(run: string): string {
    const name = createHash('sha256').update(run).digest('hex').slice(0, 24);
    return path.join(this.folder, `${name}.json`);
  }

  private async read(file: string): Promise<Claim | undefined> {
    try {
      const { mtimeMs } = await stat(file);
      if (this.now() - mtimeMs > staleAfterMs) return undefined;
      const raw: unknown = JSON.parse(await readFile(file, 'utf8'));
      if (!isObject(raw) || !isString(raw.session) || !isNumber(raw.pid)) return undefined;
      return exists(raw.pid) ? { session: raw.session, pid: raw.pid } : undefined;
    } catch {
      return undefined;
    }
  }

  private async write(run: string, file: string): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const claim: Claim = { session: this.session, pid: process.pid };
    const draft = `${file}.${process.pid}.tmp`;
    await writeFile(draft, JSON.stringify(claim));
    await rename(draft, file);
    this.renewedAt.set(run, this.now());
  }
}

/** Signal 0 only asks. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
