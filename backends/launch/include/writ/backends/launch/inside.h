// What the supervisor and the process beside the job say to each other, on a SEQPACKET socket: init
// of the job's namespaces, the first process of a container, or the owner of a machine.
#pragma once

namespace writ::backends::launch {

// To the supervisor. kInitReady comes with descriptors: the proxy's listener where there is one,
// then one for each NamespacePlan::counted. The owner of a machine adds how it was started:
// "restored", "pooled" (restored ahead, by another owner), or "cold" and, after a blank, why it was
// not restored from a snapshot that there was. "held": it is a machine for somebody else's run, and
// what that needs of it follows behind kInitReady's other descriptors.
inline constexpr char kInitReady = 'R';
inline constexpr char kStartedRestored[] = "restored";
inline constexpr char kStartedPooled[] = "pooled";
inline constexpr char kStartedCold[] = "cold";
inline constexpr char kMachineHeld[] = "held";
inline constexpr unsigned kMaxMachineStart = 600;
inline constexpr char kJobEnded = 'X';  // followed by the wait status in decimal
// "F", errno in decimal, a blank, the stage. Stage "exec": the program is missing or cannot be run.
inline constexpr char kFailureReport = 'F';
// Followed by an encoded Message (messages.h): of a job that runs where this kernel does not see
// it. Refused: recorded and counted here. Ended: what it says stands beside kJobEnded, or alone
// where no end was observed.
inline constexpr char kGuestWord = 'G';
// All that the job left has been brought out of its machine. Without it an end that the guest told
// is not the run's.
inline constexpr char kGuestDone = 'D';

// From the supervisor.
inline constexpr char kMapped[] = "M";
// With two descriptors: the environment on a memfd, and a SEQPACKET socket that is closed when the
// job's program runs, after a kFailureReport where it does not. To the owner of a machine whose job
// has a terminal two more: as with GoMessage.
inline constexpr char kStart[] = "S";
inline constexpr char kTerminate[] = "T";  // where the container has a kernel of its own

// While the job runs, where the plan accepts entries. To init: kEnter and the id, with descriptors
// (entry_forks.h); kSignalEntry, the id, a blank and the signal. From init: kEntryEnded, the id, a
// blank and the wait status. Numbers in decimal.
inline constexpr char kEnter = 'E';
inline constexpr char kSignalEntry = 'K';
inline constexpr char kEntryEnded = 'x';

// While the job runs, to the owner of a machine: it is to stand still, or to go on. From it, one
// answer each: kStill, "1" where it stands still and "0" where it does not, and why it is not as it
// was asked to be.
inline constexpr char kPause[] = "P";
inline constexpr char kResume[] = "C";
inline constexpr char kStill = 's';
inline constexpr unsigned kMaxWhy = 300;

// In a container with a kernel of its own: where the root is shown once more for what is put beside
// the job (view_beside.h). The image's root has these directories.
inline constexpr char kBesidePlace[] = "/.writ/beside";
inline constexpr char kBesideRoot[] = "/.writ/beside/root";

}  // namespace writ::backends::launch
