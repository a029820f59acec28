/** Whatever loads the library imports this before: without a binary its own complaint is a missing module. */
import { requireRuntime } from '../training/runtimeBinary';

requireRuntime();
