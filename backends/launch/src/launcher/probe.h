// Probes that the launcher makes of the host, and prints.
//
// `writ-launch --probe`: supervised connect tried for real, in a child of ours with a filter of one
// rule.
#pragma once

#include <string>

namespace writ::backends::launch {

// Prints "user_notification=yes" or "user_notification=no REASON" and returns 0; no job is run.
int RunProbe();

// `writ-launch --probe-namespaces DIR`: namespaces with a small view made for real, and an overlay
// of DIR/lower, DIR/upper and DIR/work in it, which belong to us or, where we are root, to
// kProbeUid. Prints "namespaces=yes" or "namespaces=no REASON", and the same of "overlay"; returns
// 0.
int RunNamespaceProbe(const std::string& dir);

// `writ-launch --probe-plan FILE`: makes everything of the encoded launch plan in it but the job,
// and undoes it. Prints "plan=yes" or "plan=no REASON"; returns 0.
int RunPlanProbe(const std::string& path);

}  // namespace writ::backends::launch
