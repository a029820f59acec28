import { describe, expect, it } from 'vitest';
import { deviceError, memoryError } from '../../../src/trainer/ort/deviceErrors';
import { runtimeMessage } from '../../../src/trainer/ort/runtimeMessage';

const place = '/onnxruntime_src/onnxruntime/core/providers/webgpu/buffer_manager.cc:641';

describe('errors of a GPU', () => {
  // The software GPU's words for a buffer of more than its memory, for one asked for after that, and
  // Dawn's for one that can be made but not bound.
  it.each([
    `WebGPU validation failed. [Invalid Buffer (unlabeled)] is invalid due to a previous error.
 - While calling [Device].CreateBindGroup([BindGroupDescriptor ""Expand""]).`,
    `WebGPU validation failed. Buffer size (3145728000) exceeds the max buffer size limit (1073741824).
 - While calling [Device].CreateBuffer([BufferDescriptor]).`,
    'Binding size (3145728000) of [Buffer] is larger than the maximum storage buffer binding size (1073741824).',
  ])('are of memory where a buffer is too large: %s', (message) => {
    expect(deviceError(new Error(message))).toMatchObject({ code: 'device.outOfMemory' });
    expect(memoryError(new Error(message))).toMatchObject({ code: 'device.outOfMemory' });
  });

  it('are not of memory where they are of something else', () => {
    const message = 'Viewport width (3) exceeds the maximum (2).';
    expect(deviceError(new Error(message))).toMatchObject({ code: 'device.unavailable' });
    expect(memoryError(new Error(message))).toBeUndefined();
  });

  it('keep the source places of the runtime to themselves', () => {
    const cause = new Error(
      `Non-zero status code returned while running Expand node. Status Message: ${place} ` +
        'void onnxruntime::webgpu::BufferManager::Download(WGPUBuffer, void*, size_t) const ' +
        'Failed to download data from buffer: buffer was unmapped.\n#0 0x7f1 in main',
    );
    const error = deviceError(cause);
    expect(error.message).toBe(
      'The WebGPU device cannot run this: Failed to download data from buffer: buffer was unmapped.',
    );
    // Whoever reports the defect has the whole of it.
    expect(error.cause).toBe(cause);
  });
});

describe('a message of the runtime', () => {
  // Names of functions as the library of version 1.30 holds them.
  it.each([
    'void onnxruntime::webgpu::BufferManager::Upload(void*, WGPUBuffer, size_t) const',
    'onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()>',
    'onnxruntime::InferenceSession::TransformGraph(onnxruntime::Graph&, bool)::<lambda(const onnxruntime::Graph&)> mutable',
    'onnxruntime::webgpu::ScatterNDProgram::GenerateShaderCode(onnxruntime::webgpu::ShaderHelper&) const::<lambda(onnxruntime::webgpu::ScatterNDReduction, const std::string&)>',
    'wgpu::BindGroup onnxruntime::webgpu::WebGpuContext::CreateBindGroup(const std::vector<WGPUBufferImpl*>&, std::string_view) const',
    'T onnxruntime::narrow(U) [with T = int; U = std::vector<long int>]',
    'virtual bool onnxruntime::Loop::operator()(int) const [with T = (lambda at x.h:1)]',
  ])('begins after the place in its sources: %s', (name) => {
    for (const message of ['a was false. No room', '(size > 0) was false.', 'mapped[0] is bad'])
      expect(runtimeMessage(`[6] Exception: ${place} ${name} ${message}`)).toBe(message);
  });

  it('begins after it on Windows, whose compiler names a function without its parameters', () => {
    const where = 'D:\\a\\_work\\1\\s\\onnxruntime\\core\\webgpu\\webgpu_context.cc:171';
    for (const name of ['webgpu::Context::Run', 'webgpu::Context::Run::<lambda_1>::operator ()'])
      expect(runtimeMessage(`Status: ${where} onnxruntime::${name} No adapter.`)).toBe(
        'No adapter.',
      );
  });

  it('is the first line where nothing else is known', () => {
    expect(runtimeMessage('Failed to get a WebGPU adapter.\ntrace')).toBe(
      'Failed to get a WebGPU adapter.',
    );
    expect(runtimeMessage(`${place} no name (of a function) here`)).toBe(
      'no name (of a function) here',
    );
    const empty = 'Status: D:\\s\\run.cc:1 onnxruntime::Run';
    expect(runtimeMessage(empty)).toBe(empty);
    expect(runtimeMessage('Cannot read /models/tiny.onnx: no such file')).toBe(
      'Cannot read /models/tiny.onnx: no such file',
    );
  });
});
