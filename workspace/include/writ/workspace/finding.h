// Finding: something in a job's tree or a requester's checkout that is not carried, or that a
// reader of the receipt should know. Never a failure by itself.
#pragma once

#include <string>

namespace writ::workspace {

struct Finding {
  std::string code{};    // stable, e.g. "workspace.nested_repository"
  std::string path{};    // raw bytes; PathForRecord() makes it fit for a record; may be empty
  std::string detail{};  // one sentence
};

}  // namespace writ::workspace
