/** The editor's side of a webview, typed. */

interface VsCodeApi {
  postMessage(message: unknown): void;
  getState(): unknown;
  setState(state: unknown): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

export interface EditorApi<Sent, State> {
  post(message: Sent): void;
  /** What `save` kept, checked by `parse`; survives hiding and reloading. */
  restore(): State;
  save(state: State): void;
}

export function connect<Received, Sent, State>(
  parse: (raw: unknown) => Received | undefined,
  parseState: (raw: unknown) => State,
  receive: (message: Received) => void,
): EditorApi<Sent, State> {
  const api = acquireVsCodeApi();
  window.addEventListener('message', (event: MessageEvent<unknown>) => {
    const message = parse(event.data);
    if (message !== undefined) receive(message);
  });
  return {
    post: (message) => {
      api.postMessage(message);
    },
    restore: () => parseState(api.getState()),
    save: (state) => {
      api.setState(state);
    },
  };
}
