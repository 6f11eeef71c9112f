// Agent profiles: how each kind of agent is really started (design.md section 3).
//
// protocol's Prepare says what the execution *hash* covers; a profile says what *runs*: the argv
// per tier, the program and the trees it needs, folders and stand-ins in the private HOME,
// variables that stop updates and telemetry. The profile table is data; Locate looks at this host's
// files and changes nothing; AgentArgv is pure.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/words.h"

namespace writ::runner {

struct RunnerConfig;

struct AgentProfile {
  std::string_view kind;
  std::string_view program;      // looked for by this name; empty: no program of its own (command)
  std::string_view npm_package;  // whose package.json tells the version; empty: none
  std::vector<std::string_view>
      home_directories;  // writable configuration, made in the private HOME
  std::vector<std::pair<std::string_view, std::string_view>>
      vars;  // no updates (L45), no telemetry
  // Key variables that must exist for the agent to start: set to a stand-in value unless the run
  // sets them or one of other_key_vars, which a stand-in would win over.
  std::vector<std::string_view> key_vars;
  std::vector<std::string_view> other_key_vars;
  // Secrets that people store under a name which the agent does not read: (secret, variable it
  // does read). The secret goes there too where the run sets that variable in no other way.
  std::vector<std::pair<std::string_view, std::string_view>> key_aliases;
  // The variable of the session that names another address of the model's API; empty: none. An
  // agent that does not read it gets it in its argv (AgentArgv).
  std::string_view base_url_var;
  std::vector<std::string_view>
      hosts;              // what it talks to, for `writ doctor` and hints; grants nothing
  bool spawnable = true;  // false: prepared and hashed, never started (pi)
};

inline constexpr std::string_view kPlaceholderKey = "writ-placeholder-key";

const AgentProfile* FindProfile(std::string_view kind);  // nullptr: unknown
const std::vector<AgentProfile>& AllProfiles();

class PrivatePlaces;

struct LocateOptions {
  std::string configured_path;  // operator's path for this kind; empty: search
  std::vector<std::string> search_path;
  uid_t job_uid =
      0;  // who must be able to read it; 0: not checked (the runner's own uid runs the jobs)
  // What must not be shown together with a program (borrowed); nullptr: nothing.
  const PrivatePlaces* hidden = nullptr;
};

// What is installed. `lack` says what is missing; the rest is then not to be used.
struct InstalledAgent {
  std::vector<std::string> command;  // program (and interpreter before it), absolute real paths
  // Beside the system's own. The folder of the installation; where that would show what is private,
  // the package alone or the program alone.
  std::vector<std::string> read_only_trees;
  // Files and folders of the system's own that a root directory of another system lacks.
  std::vector<std::string> system_parts;
  std::optional<std::string> version;  // "2.0.14"; nullopt: it does not tell without being run
  std::string lack;                    // one sentence; empty: complete
  std::string hint;
};
InstalledAgent Locate(const AgentProfile& profile, const LocateOptions& options);
// Where the operator's configuration has it, for the jobs of that runner.
InstalledAgent LocateFor(const RunnerConfig& config, const AgentProfile& profile);

// What is asked of an agent. The prompt is one operand, never an option or a subcommand of the
// agent's (L2).
struct AgentTask {
  protocol::Tier tier = protocol::Tier::kProcess;
  std::string prompt;
  // The value of base_url_var: printable ASCII without spaces, quotes and backslashes. Empty: the
  // agent's own address.
  std::string base_url;
};

// The argv that runs for `task`. Only for spawnable kinds with a program.
std::vector<std::string> AgentArgv(const AgentProfile& profile, const InstalledAgent& agent,
                                   const AgentTask& task);

// Does `version` lie in `range`? Ranges: comparators (>=, >, <=, <, =, ^, ~ or none) joined by
// spaces or commas, all of which must hold; a bare "2" or "2.1" means that prefix. kInvalid
// "agent.version_range" for any other text.
Result<bool> VersionMeets(std::string_view range, std::string_view version);

}  // namespace writ::runner
