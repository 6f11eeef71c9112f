#include <algorithm>

#include "writ/runner/profiles.h"

namespace writ::runner {

const std::vector<AgentProfile>& AllProfiles() {
  static const std::vector<AgentProfile> kProfiles = {
      {.kind = "claude-code",
       .program = "claude",
       .npm_package = "@anthropic-ai/claude-code",
       .home_directories = {".claude", ".cache", ".config"},
       .vars = {{"DISABLE_AUTOUPDATER", "1"},
                {"DISABLE_TELEMETRY", "1"},
                {"DISABLE_ERROR_REPORTING", "1"},
                {"DISABLE_BUG_COMMAND", "1"},
                {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"}},
       .key_vars = {"ANTHROPIC_API_KEY"},
       .hosts = {"api.anthropic.com"}},
      {.kind = "codex",
       .program = "codex",
       .npm_package = "@openai/codex",
       .home_directories = {".codex", ".cache"},
       .vars = {{"CODEX_DISABLE_UPDATE_CHECK", "1"}, {"DO_NOT_TRACK", "1"}},
       .key_vars = {"OPENAI_API_KEY", "CODEX_API_KEY"},
       .hosts = {"api.openai.com"}},
      {.kind = "pi",
       .program = "pi",
       .npm_package = "",
       .home_directories = {},
       .vars = {},
       .key_vars = {},
       .hosts = {},
       .spawnable = false},
      {.kind = "mock",
       .program = "writ-mock-agent",
       .npm_package = "",
       .home_directories = {},
       .vars = {},
       .key_vars = {},
       .hosts = {}},
      {.kind = "command",
       .program = "",
       .npm_package = "",
       .home_directories = {},
       .vars = {},
       .key_vars = {},
       .hosts = {}},
  };
  return kProfiles;
}

const AgentProfile* FindProfile(std::string_view kind) {
  const auto& all = AllProfiles();
  auto at =
      std::find_if(all.begin(), all.end(), [&](const AgentProfile& p) { return p.kind == kind; });
  return at == all.end() ? nullptr : &*at;
}

std::vector<std::string> AgentArgv(const AgentProfile& profile, const InstalledAgent& agent,
                                   protocol::Tier tier, const std::string& prompt) {
  std::vector<std::string> argv = agent.command;
  auto add = [&](std::initializer_list<std::string> args) { argv.insert(argv.end(), args); };
  if (profile.kind == "claude-code") {
    // Its own permission prompts go only where the kernel holds the whole file system view, not
    // just files.
    if (tier == protocol::Tier::kProcess) {
      add({"-p", prompt, "--permission-mode", "acceptEdits"});
    } else {
      add({"-p", prompt, "--dangerously-skip-permissions"});
    }
  } else if (profile.kind == "codex") {
    // Its own sandbox cannot be nested in ours, in no tier.
    add({"exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", prompt});
  } else {
    add({prompt});
  }
  return argv;
}

}  // namespace writ::runner
