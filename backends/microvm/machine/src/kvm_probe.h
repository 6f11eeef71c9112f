// Whether KVM here runs guest code on the processor, or only pretends to.
#pragma once

namespace writ::backends::microvm {

// Prints "kvm=yes" or "kvm=no REASON". Runs a loop of guest code against a deadline: a kernel whose
// KVM emulates each instruction opens its device and creates machines, and boots nothing. 0.
int RunKvmProbe();

}  // namespace writ::backends::microvm
