/**
 * The proof of ownership kept in the per-user folder, one file a lock. `lock.json` in the run folder
 * only names it; pid, socket and nonce are taken from here, so that a forged lock can point at
 * nothing.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from './atomicFile';
import { userFolder } from './userFolder';

const hex = (bytes: number): z.ZodString =>
  z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));

const recordSchema = z.object({
  /** Shared secret of the handshake. */
  nonce: hex(32),
  pid: z.int().positive(),
  processStart: z.string(),
  /** Real path of the run folder. */
  runFolder: z.string(),
  /** '' where only the command file works. */
  socket: z.string(),
});
export type OwnerRecord = z.output<typeof recordSchema>;

export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}

async function recordFile(nonceId: string): Promise<string | undefined> {
  // The id comes from an untrusted file and becomes a file name.
  if (!/^[0-9a-f]{32}$/.test(nonceId)) return undefined;
  return path.join(await userFolder(), `${nonceId}.json`);
}

/** Writes a record under a fresh id and returns the id. */
export async function writeOwnerRecord(nonceId: string, record: OwnerRecord): Promise<void> {
  const file = await recordFile(nonceId);
  if (file === undefined) throw new Error(`bad nonce id ${nonceId}`);
  await writeFileAtomic(file, JSON.stringify(record));
}

/** The record of that id, or undefined when this user has none. */
export async function readOwnerRecord(nonceId: string): Promise<OwnerRecord | undefined> {
  const file = await recordFile(nonceId);
  if (file === undefined) return undefined;
  try {
    return recordSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}

export async function removeOwnerRecord(nonceId: string): Promise<void> {
  const file = await recordFile(nonceId);
  if (file !== undefined) await rm(file, { force: true });
}

/** HMAC-SHA-256 by which a side shows that it knows the nonce; the role keeps answers from being mirrored. */
export function proofOf(nonce: string, role: 'trainer' | 'observer', challenge: string): string {
  return createHmac('sha256', Buffer.from(nonce, 'hex'))
    .update(`${role}:${challenge}`)
    .digest('hex');
}

export function sameProof(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
