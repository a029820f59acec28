/** What every process that may load onnxruntime has in its environment; see trainer/ort/noTelemetry. */
export const runtimeTelemetryOff = { ORT_DISABLE_TELEMETRY: '1' } as const;
