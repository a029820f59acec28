/**
 * From 1.29 on, onnxruntime's official builds for Linux and macOS report to their maker over the
 * network, and keep an identifier of the device and a database in the user's cache, unless a variable
 * is set before the library is loaded (microsoft/onnxruntime#27379; on Windows it only emits trace
 * events, which the system keeps). Nothing here may go over the network unasked, so whatever loads
 * the library imports this first.
 */
import { isMainThread } from 'node:worker_threads';
import { runtimeTelemetryOff } from '../../protocol/runtimeEnvironment';

// A worker's `process.env` is a copy, which the library doesn't see.
if (isMainThread) {
  Object.assign(process.env, runtimeTelemetryOff);
} else if (process.env['ORT_DISABLE_TELEMETRY'] !== runtimeTelemetryOff.ORT_DISABLE_TELEMETRY) {
  throw new Error('the main thread must import noTelemetry before it starts a worker');
}
