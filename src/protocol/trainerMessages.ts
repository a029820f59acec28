/**
 * Messages between a trainer process and whoever watches it (editor or command line), over its
 * control socket. Metrics do not travel here: an event says how far the journal has grown, and the
 * reader reads the file, so a lost message loses nothing.
 */
import type { SerializedError } from './errors';
import { isNumber, isObject, isString } from './guards';
import type { RunState } from './runFiles';

/** What the trainer is doing right now; finer than the run's state. */
export const trainerPhases = [
  'starting',
  'loading',
  'probing',
  'decomposing',
  'training',
  'evaluating',
  'saving',
  'paused',
  'stopping',
  'ended',
] as const;
export type TrainerPhase = (typeof trainerPhases)[number];

export interface TrainerProgress {
  phase: TrainerPhase;
  step: number;
  totalSteps: number;
  epoch: number;
  /** Of the latest step. */
  loss?: number;
  tokensPerSecond?: number;
  /** Resident memory of the trainer. */
  rssMb?: number;
  /** As in the journal's rows: in use on the GPU, where the run is on one. */
  deviceMb?: number;
  /** Estimated seconds to the end; absent until a rate is known. */
  secondsLeft?: number;
  /** Within a phase that counts, e.g. modules decomposed. */
  done?: number;
  total?: number;
}

/** What the trainer is doing in words, with its count where it has one: `decomposing 3/28`. */
export function phaseText({ phase, done, total }: TrainerProgress): string {
  const words = phase === 'probing' ? 'asking the GPU' : phase;
  return done === undefined || total === undefined ? words : `${words} ${done}/${total}`;
}

export interface TrainerStatus {
  runId: string;
  pid: number;
  state: RunState;
  progress: TrainerProgress;
  /** Bytes of metrics.jsonl that are complete rows. */
  journalBytes: number;
}

/** What an observer sends. Everything but `hello` is refused before `authenticate`. */
export interface ObserverMessages {
  requests: {
    /** The trainer proves that it knows the nonce by an HMAC of the challenge. */
    hello: { params: { challenge: string }; result: HelloAnswer };
    /** The observer proves the same. */
    authenticate: { params: { proof: string }; result: TrainerStatus };
    status: { params: Record<string, never>; result: TrainerStatus };
    /** Answered as soon as the request is noted; the state event tells when it took effect. */
    stop: { params: Record<string, never>; result: TrainerStatus };
    pause: { params: Record<string, never>; result: TrainerStatus };
    resume: { params: Record<string, never>; result: TrainerStatus };
  };
  events: Record<string, never>;
}

export interface HelloAnswer {
  runId: string;
  pid: number;
  proof: string;
  challenge: string;
}

/** What the trainer sends. */
export interface TrainerMessages {
  requests: Record<string, never>;
  events: {
    /** metrics.jsonl now holds complete rows up to this byte. */
    journal: { bytes: number };
    progress: TrainerProgress;
    state: { state: RunState; error?: SerializedError };
  };
}

const challengePattern = /^[0-9a-f]{64}$/;

/** The `validate` option of the trainer's end. */
export function validObserverMessage(
  kind: 'request' | 'event',
  name: string,
  payload: unknown,
): boolean {
  if (kind === 'event' || !isObject(payload)) return false;
  switch (name) {
    case 'hello':
      return isString(payload.challenge) && challengePattern.test(payload.challenge);
    case 'authenticate':
      return isString(payload.proof) && challengePattern.test(payload.proof);
    default:
      return true;
  }
}

/** The `validate` option of the observer's end. */
export function validTrainerMessage(
  kind: 'request' | 'event',
  name: string,
  payload: unknown,
): boolean {
  if (kind === 'request' || !isObject(payload)) return false;
  switch (name) {
    case 'journal':
      return isNumber(payload.bytes);
    case 'progress':
      return isString(payload.phase) && isNumber(payload.step) && isNumber(payload.totalSteps);
    case 'state':
      return isString(payload.state);
    default:
      return false;
  }
}
