// Closing all that a process inherited, whatever it is; and having as many as one may.
//
// close_range(2): what is open from `first` to `last` is closed, or gets O_CLOEXEC. Where the
// kernel lacks it (before 5.9; O_CLOEXEC before 5.11) one by one, as /proc/self/fd lists them; an
// error where that cannot be read either. Nobody else may be opening descriptors meanwhile.
#pragma once

#include "writ/base/result.h"

namespace writ {

inline constexpr unsigned kLastDescriptor = ~0u;
Status CloseDescriptors(unsigned first, unsigned last = kLastDescriptor);
Status CloseDescriptorsOnExec(unsigned first, unsigned last = kLastDescriptor);

// This process's soft limit of descriptors becomes its hard one. Where others of its uid have many
// in flight between sockets, the kernel lets only those send some whose soft limit is above that.
void RaiseDescriptorLimit();

}  // namespace writ
