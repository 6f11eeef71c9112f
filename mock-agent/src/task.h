// The well-behaved agent: appends the task to MOCK_AGENT.md, probes the network when the task says
// "network", fails when it says "fail". Words and bytes are fixed by the protocol.
#pragma once

#include <string>

namespace writ::mock {

// Returns the exit code.
int DoTask(const std::string& prompt);
// Writes at once, so that both streams keep their order where they are merged.
void Say(int fd, const std::string& text);

}  // namespace writ::mock
