// The warden of one operator's hook: starts it beneath a subreaper and ends its whole tree.
#pragma once

namespace writ::backends::launch {

// `writ-launch --hook PROGRAM ARGS...`, started with descriptors 0, 1, 2 (the hook's own, handed on
// and closed here) and 3: a SEQPACKET socket. The program gets this process's environment and a
// session of its own. When it ends, or when the other end of 3 is closed or shut down, everything
// that descends from it is killed - what left its session, its parent and its environment behind
// too, because orphans come to the nearest subreaper. Then one message is sent on 3: "exit N",
// "signal N", "start" (it could not be started), with " left" behind it where something lived on
// past the bound. Exit: 0 told, 1 not, 2 wrong use.
int RunHookWarden(int argc, char** argv);

}  // namespace writ::backends::launch
