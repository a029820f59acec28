/**
 * The Hugging Face hub's cache as it lies on disk: `models--<org>--<name>/snapshots/<revision>/`,
 * whose files are links into `blobs`. Only folders are listed; nothing is asked of a network.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Environment } from './environment';

export interface HubModel {
  /** `org/name` */
  name: string;
  /** The snapshot's folder, absolute. */
  folder: string;
}

/** Where the hub's libraries keep models, by their own variables and order. */
export function hubCacheFolder(environment: Environment, home: string): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment;
  const named = [HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE].find((value) => (value ?? '') !== '');
  if (named !== undefined) return path.resolve(expandHome(named, home));
  const hfHome =
    (HF_HOME ?? '') === ''
      ? path.join((XDG_CACHE_HOME ?? '') || path.join(home, '.cache'), 'huggingface')
      : expandHome(HF_HOME ?? '', home);
  return path.resolve(hfHome, 'hub');
}

function expandHome(folder: string, home: string): string {
  return folder.replace(/^~(?=$|[\\/])/, home);
}

/** Models with safetensors weights, by name; an unreadable cache holds none. */
export async function hubModels(cache: string, most = 100): Promise<HubModel[]> {
  const found: HubModel[] = [];
  for (const entry of (await namesIn(cache)).sort()) {
    const parts = /^models--(.+)$/.exec(entry)?.[1];
    if (parts === undefined || found.length >= most) continue;
    const folder = await snapshotOf(path.join(cache, entry));
    if (folder !== undefined) found.push({ name: parts.replaceAll('--', '/'), folder });
  }
  return found;
}

/** The revision that `refs/main` names, else the last by name that holds a model. */
async function snapshotOf(model: string): Promise<string | undefined> {
  const snapshots = path.join(model, 'snapshots');
  const main = await readFile(path.join(model, 'refs', 'main'), 'utf8').catch(() => '');
  const revisions = (await namesIn(snapshots)).sort().reverse();
  const ordered = [main.trim(), ...revisions].filter((name) => revisions.includes(name));
  for (const revision of ordered) {
    const names = await namesIn(path.join(snapshots, revision));
    const whole = names.includes('config.json') && names.some((n) => n.endsWith('.safetensors'));
    if (whole) return path.join(snapshots, revision);
  }
  return undefined;
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
