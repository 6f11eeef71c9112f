// InRequest: which request of a server the log lines of a thread belong to.
//
// Every line that a thread writes while an InRequest of its lives carries `request`, unless the
// line says it itself. Not inherited by other threads: a request is served by one.
#pragma once

#include <string>

namespace writ::log {

class InRequest {
 public:
  explicit InRequest(std::string id);
  ~InRequest();
  InRequest(const InRequest&) = delete;
  InRequest& operator=(const InRequest&) = delete;

 private:
  std::string before_;
};

}  // namespace writ::log
