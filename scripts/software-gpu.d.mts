export const softwareGpuSupported: boolean;
export function softwareGpuEnvironment(): Record<string, string>;
