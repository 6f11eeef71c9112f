// A runner without a journal, for measuring what the journal costs: while it is chosen, engines
// that are made take no notes. And every flush to a disk of this process, counted.
#pragma once

namespace writ::bench {

enum class Notes { kJournal, kNone };
void Choose(Notes notes);  // of engines that are made from now on

int Flushes();  // fsync and fdatasync so far

}  // namespace writ::bench
