// `writ-launch --probe`: supervised connect tried for real, in a child of ours with a filter of one
// rule.
#pragma once

namespace writ::backends::launch {

// Prints "user_notification=yes" or "user_notification=no REASON" and returns 0; no job is run.
int RunProbe();

}  // namespace writ::backends::launch
