// A power cut for one process: a library to be preloaded (or linked) that remembers what the
// process wrote to files below a folder and did not flush, and takes it back when the process kills
// itself (kill(getpid(), SIGKILL): the fault points' "kill"). What is left is the worst that a
// machine without power may leave: flushed bytes, and names in flushed folders, only.
//
// Taken back: write, pwrite, writev, pwritev, ftruncate, posix_fallocate; names made by open,
// rename and link. Not: removals (that they lasted is a legal and the harder outcome), folders,
// bytes written through a mapping, and what other processes wrote.
#pragma once

// Preloaded, the folder is that of the environment's WRIT_POWER_ROOT; linked, that of this call.
// Once per process, before its first write.
extern "C" void WritPowerCutBelow(const char* folder);
