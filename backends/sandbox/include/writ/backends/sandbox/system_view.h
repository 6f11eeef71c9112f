// What every sandbox sees of the host's system: its programs and libraries as they are, and an /etc
// that holds only what programs need to run.
#pragma once

#include <vector>

#include "writ/backends/launch/view_step.h"

namespace writ::backends {

// Looks at the host once; reads no content. Steps for /usr, /bin and their like, /etc, and
// SurroundingsView.
std::vector<launch::ViewStep> SystemView();
// Of the kernel rather than of a system: /dev, /proc, and of /sys the processors, for runtimes that
// count them there.
std::vector<launch::ViewStep> SurroundingsView();

// Of a SystemView: programs, libraries and device nodes, no data of the host. What a program of the
// host that stands beside a job is shown.
bool IsSystemProgram(const launch::ViewStep& step);

}  // namespace writ::backends
