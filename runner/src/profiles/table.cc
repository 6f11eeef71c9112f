#include <algorithm>

#include "writ/runner/profiles.h"

namespace writ::runner {

namespace {

void Add(std::vector<std::string>& argv, std::initializer_list<std::string> args) {
  argv.insert(argv.end(), args);
}

void AddClaude(std::vector<std::string>& argv, const AgentTask& task) {
  Add(argv, {"-p"});
  // Its own permission prompts go only where the kernel holds the whole file system view, not just
  // files.
  if (task.tier == protocol::Tier::kProcess) {
    Add(argv, {"--permission-mode", "acceptEdits"});
  } else {
    Add(argv, {"--dangerously-skip-permissions"});
  }
  Add(argv, {"--", task.prompt});
}

// Codex reads neither updates nor telemetry nor the API's address from its environment, so they
// stand in its argv, where no file of the repository can change them.
void AddCodex(std::vector<std::string>& argv, const AgentTask& task) {
  // Its own sandbox cannot be nested in ours, in no tier.
  Add(argv, {"exec", "--skip-git-repo-check", "--sandbox", "danger-full-access"});
  for (const char* setting : {
           "check_for_update_on_startup=false",            // L45
           "analytics.enabled=false",                      // ab.chatgpt.com
           "features.plugins=false",                       // github.com, api.github.com
           "features.api_key_model_discovery=false",       // chatgpt.com
           "features.unbounded_connection_retries=false",  // a refused host ends the run
       })
    Add(argv, {"-c", setting});
  if (!task.base_url.empty()) {
    // A provider of its own: the built-in one tries a WebSocket first, for many seconds.
    Add(argv, {"-c", "model_provider=\"writ\"", "-c", "model_providers.writ.name=\"writ\"", "-c",
               "model_providers.writ.base_url=\"" + task.base_url + "\"", "-c",
               "model_providers.writ.wire_api=\"responses\"", "-c",
               "model_providers.writ.env_key=\"CODEX_API_KEY\"", "-c",
               "model_providers.writ.supports_websockets=false"});
  }
  Add(argv, {"--", task.prompt});
}

}  // namespace

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
                {"DISABLE_UPDATES", "1"},
                {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"}},
       .key_vars = {"ANTHROPIC_API_KEY"},
       .other_key_vars = {"ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"},
       .key_aliases = {},
       .base_url_var = "ANTHROPIC_BASE_URL",
       .hosts = {"api.anthropic.com"}},
      {.kind = "codex",
       .program = "codex",
       .npm_package = "@openai/codex",
       .home_directories = {".codex", ".cache"},
       .vars = {},  // it has no such variables: see AddCodex
       .key_vars = {"CODEX_API_KEY"},
       .other_key_vars = {"CODEX_ACCESS_TOKEN"},
       .key_aliases = {{"OPENAI_API_KEY", "CODEX_API_KEY"}},
       .base_url_var = "OPENAI_BASE_URL",
       .hosts = {"api.openai.com"}},
      {.kind = "pi",
       .program = "pi",
       .npm_package = "",
       .home_directories = {},
       .vars = {},
       .key_vars = {},
       .other_key_vars = {},
       .key_aliases = {},
       .base_url_var = {},
       .hosts = {},
       .spawnable = false},
      {.kind = "mock",
       .program = "writ-mock-agent",
       .npm_package = "",
       .home_directories = {},
       .vars = {},
       .key_vars = {},
       .other_key_vars = {},
       .key_aliases = {},
       .base_url_var = {},
       .hosts = {}},
      {.kind = "command",
       .program = "",
       .npm_package = "",
       .home_directories = {},
       .vars = {},
       .key_vars = {},
       .other_key_vars = {},
       .key_aliases = {},
       .base_url_var = {},
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
                                   const AgentTask& task) {
  std::vector<std::string> argv = agent.command;
  if (profile.kind == "claude-code") {
    AddClaude(argv, task);
  } else if (profile.kind == "codex") {
    AddCodex(argv, task);
  } else {
    argv.push_back(task.prompt);
  }
  return argv;
}

}  // namespace writ::runner
