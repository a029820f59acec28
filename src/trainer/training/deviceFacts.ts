/** A device that was chosen, as it is told to people. */
import type { RunConfig } from '../../config/runConfig';
import type { RunDevice } from '../../protocol/deviceText';
import type { ChosenDevice } from './chooseDevice';
import { physicalCores } from './physicalCores';

/** What the run's manifest says of a device. */
export function deviceFacts(
  { kind, name, reason }: ChosenDevice,
  config: Pick<RunConfig, 'device' | 'threads'>,
): RunDevice {
  const threads = config.threads > 0 ? config.threads : physicalCores();
  // Only there a GPU might have been expected.
  const unused = config.device === 'auto' && kind === 'cpu';
  return { kind, name, threads, ...(unused && { reason }) };
}
