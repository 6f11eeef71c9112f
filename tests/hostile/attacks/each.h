// Many attempts by one program: where a start of a job costs seconds, as a machine's does.
//
// Each is made by a child of its own, with nothing to read or write, under a name of its own:
// "try-" and its line, from 1, which is what a record of a refused connection has as its program.
// Ended after a minute. For each, when it has ended: its name and its exit code as a shell would
// say it, in a line.
#pragma once

#include <string>
#include <string_view>

namespace writ::hostile {

// Of NAME@supervisor the victim is this program's own parent. Exit code: 3, the file cannot be
// read.
int TryEach(const std::string& file, int (*attempt)(std::string_view name));

}  // namespace writ::hostile
