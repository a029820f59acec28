/**
 * What really crosses between this process and a device, and which sessions live, counted below
 * everything of the trainer: at the runtime itself.
 */
import * as ort from 'onnxruntime-node';

export interface WatchedRuntime {
  /** Sessions that were made and not yet released. */
  sessions: number;
  /** All that were made. */
  made: number;
  /** Elements of each result that came to the host, in their order. */
  fetched: number[];
  /** Elements that the host has fed. */
  fed: number;
}

type Feeds = ort.InferenceSession.OnnxValueMapType;
type Run = (feeds: Feeds, ...rest: unknown[]) => Promise<Feeds>;

/** From here on, of all sessions of this process. */
export function watchRuntime(): WatchedRuntime {
  const watched: WatchedRuntime = { sessions: 0, made: 0, fetched: [], fed: 0 };
  const runtime = ort.InferenceSession as {
    create: (model: Uint8Array, options: object) => Promise<ort.InferenceSession>;
  };
  const create = runtime.create.bind(runtime);
  runtime.create = async (model, options) => {
    const session = await create(model, options);
    watched.sessions += 1;
    watched.made += 1;
    const run = session.run.bind(session) as Run;
    const release = session.release.bind(session);
    return Object.assign(session, {
      run: async (feeds: Feeds, ...rest: unknown[]) => {
        for (const value of Object.values(feeds) as ort.Tensor[])
          if (value.location === 'cpu') watched.fed += value.size;
        const results = await run(feeds, ...rest);
        for (const value of Object.values(results) as ort.Tensor[])
          if (value.location === 'cpu') watched.fetched.push(value.size);
        return results;
      },
      release: async () => {
        await release();
        watched.sessions -= 1;
      },
    });
  };
  return watched;
}
