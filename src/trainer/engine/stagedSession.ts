/** Sessions that run one after the other and hand values on, as one. */
import { isCrossing } from '../../graph/stages';
import type { Device, Session } from '../ort/device';
import type { Slots, Value, Values } from '../ort/values';

export class StagedSession {
  readonly #stages: readonly {
    session: Session;
    inputs: ReadonlySet<string>;
    /** Values of earlier stages that no later one takes. */
    spent: readonly string[];
  }[];
  readonly #device: Pick<Device, 'free'>;

  constructor(sessions: readonly Session[], device: Pick<Device, 'free'>) {
    const inputs = sessions.map((session) => new Set(session.inputs.map(({ name }) => name)));
    this.#device = device;
    this.#stages = sessions.map((session, i) => {
      const own = inputs[i] as Set<string>;
      const spent = [...own].filter(
        (name) => isCrossing(name) && !inputs.slice(i + 1).some((later) => later.has(name)),
      );
      return { session, inputs: own, spent };
    });
  }

  /**
   * @param feeds inputs of any stage
   * @param weights the weights among a stage's inputs; what it gives for one stage may be gone when it is
   *   asked for the next
   * @returns the outputs of the graph that was cut into stages
   */
  async run(
    feeds: Values,
    weights: (inputs: ReadonlySet<string>) => Promise<Values>,
    into: Slots = {},
  ): Promise<Record<string, Value>> {
    let values: Record<string, Value> = {};
    for (const { session, inputs, spent } of this.#stages) {
      const results = await session.run({ ...feeds, ...values, ...(await weights(inputs)) }, into);
      Object.assign(values, results);
      await this.#device.free(spent.map((name) => values[name] as Value));
      const gone = new Set(spent);
      values = Object.fromEntries(Object.entries(values).filter(([name]) => !gone.has(name)));
    }
    return values;
  }

  async release(): Promise<void> {
    for (const { session } of this.#stages) await session.release();
  }
}
