/** A device that counts and times what is compiled on it. */
import type { Device } from '../../src/trainer/ort/device';

export interface Compiles {
  graphs: number;
  /** Of the runtime alone; what builds the graphs comes to it. */
  seconds: number;
  /** Graphs that are compiled now. */
  held: number;
}

/** @returns the device, and its count so far, which goes on counting */
export function countCompiles(inner: Device): { device: Device; compiles: Compiles } {
  const compiles: Compiles = { graphs: 0, seconds: 0, held: 0 };
  const device: Device = {
    kind: inner.kind,
    bufferBytes: inner.bufferBytes,
    compile: async (...args) => {
      const started = performance.now();
      const session = await inner.compile(...args);
      compiles.seconds += (performance.now() - started) / 1000;
      compiles.graphs += 1;
      compiles.held += 1;
      return {
        inputs: session.inputs,
        outputs: session.outputs,
        run: (...feeds) => session.run(...feeds),
        release: () => {
          compiles.held -= 1;
          return session.release();
        },
      };
    },
    upload: (...args) => inner.upload(...args),
    read: (...args) => inner.read(...args),
    free: (...args) => inner.free(...args),
    keep: (value) => {
      inner.keep(value);
    },
    setAside: (values) => inner.setAside(values),
    scope: (...args) => inner.scope(...args),
    memory: () => inner.memory(),
    dispose: () => inner.dispose(),
  };
  return { device, compiles };
}
