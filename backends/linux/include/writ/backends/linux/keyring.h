// Session keyrings. A process inherits the one of whoever logged in or started the service, and
// with it the possession of every key there; a job gets an empty one of its own.
#pragma once

namespace writ::backends {

// False where the kernel has no keys, or a filter around us refuses keyctl to us and so to any job.
bool KernelHasKeyrings();

// Leaves the session keyring for a new, empty one. 0 or errno. Async-signal-safe.
int JoinNewSessionKeyring();

}  // namespace writ::backends
