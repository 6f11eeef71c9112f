#include "config/operations.h"

#include "writ/runner/status.h"

namespace writ::runner {
namespace {

constexpr json::EnumName<HookFailure> kFailures[] = {{HookFailure::kVeto, "veto"},
                                                     {HookFailure::kIgnore, "ignore"}};
constexpr std::int64_t kMostDeadlineMs = 3'600'000;

bool HasNoNul(std::string_view text) {
  return text.find('\0') == std::string_view::npos;
}

HookSpec ReadHook(json::ObjectReader reader, HookKind kind) {
  HookSpec spec;
  spec.path = reader.String("path", {.min_bytes = 2, .max_bytes = 4096});
  if (auto args = reader.OptionalStrings(
          "args", {.max_bytes = 4096, .pattern = HasNoNul, .pattern_words = "text without NUL"}))
    spec.args = std::move(*args);
  if (auto deadline = reader.OptionalInteger("deadlineMs", 1, kMostDeadlineMs))
    spec.deadline = std::chrono::milliseconds(*deadline);
  const auto failure = reader.OptionalEnum("failure", kFailures);
  spec.failure = failure.value_or(MayVeto(kind) ? HookFailure::kVeto : HookFailure::kIgnore);
  if (!MayVeto(kind) && spec.failure == HookFailure::kVeto)
    reader.issues().Add("object.enum", reader.PointerOf("failure"),
                        "must be ignore: only a hook before something can veto it");
  reader.RefuseUnknown();
  return spec;
}

}  // namespace

void ReadOperations(json::ObjectReader& reader, RunnerConfig& config) {
  if (auto hooks = reader.OptionalChild("hooks")) {
    for (HookKind kind : kAllHooks)
      if (auto hook = hooks->OptionalChild(HookName(kind)))
        config.hooks.insert_or_assign(kind, ReadHook(std::move(*hook), kind));
    hooks->RefuseUnknown();
  }
  if (auto artifacts = reader.OptionalChild("artifacts")) {
    auto count = [&](std::string_view name, std::uint64_t& to) {
      if (auto value = artifacts->OptionalInteger(name, 1)) to = static_cast<std::uint64_t>(*value);
    };
    count("maxFiles", config.artifacts.max_files);
    count("maxFileBytes", config.artifacts.max_file_bytes);
    count("maxTotalBytes", config.artifacts.max_total_bytes);
    count("maxEntries", config.artifacts.max_entries);
    count("maxResultBytes", config.artifacts.max_result_bytes);
    artifacts->RefuseUnknown();
  }
  if (auto checkouts = reader.OptionalChild("checkouts")) {
    if (auto bytes = checkouts->OptionalInteger("maxBytes", 1))
      config.checkouts.max_bytes = static_cast<std::uint64_t>(*bytes);
    if (auto entries = checkouts->OptionalInteger("maxEntries", 1))
      config.checkouts.max_entries = static_cast<std::size_t>(*entries);
    checkouts->RefuseUnknown();
  }
  if (auto metrics = reader.OptionalChild("metrics")) {
    config.metrics_listen = metrics->String("listen", {.min_bytes = 1, .max_bytes = 256});
    metrics->RefuseUnknown();
  }
}

void WriteOperations(const RunnerConfig& config, json::Object& to) {
  if (!config.hooks.empty()) {
    json::Object hooks;
    for (const auto& [kind, spec] : config.hooks) {
      json::Object hook{{"path", spec.path}};
      if (!spec.args.empty()) hook.Set("args", json::Value::Texts(spec.args));
      hook.Set("deadlineMs", spec.deadline.count())
          .Set("failure", spec.failure == HookFailure::kVeto ? "veto" : "ignore");
      hooks.Set(HookName(kind), std::move(hook));
    }
    to.Set("hooks", std::move(hooks));
  }
  const ArtifactLimits& artifacts = config.artifacts;
  to.Set("artifacts", json::Object{{"maxFiles", artifacts.max_files},
                                   {"maxFileBytes", artifacts.max_file_bytes},
                                   {"maxTotalBytes", artifacts.max_total_bytes},
                                   {"maxEntries", artifacts.max_entries},
                                   {"maxResultBytes", artifacts.max_result_bytes}});
  to.Set("checkouts", json::Object{{"maxBytes", config.checkouts.max_bytes},
                                   {"maxEntries", config.checkouts.max_entries}});
  if (!config.metrics_listen.empty())
    to.Set("metrics", json::Object{{"listen", config.metrics_listen}});
}

Status CheckOperations(const RunnerConfig& config) {
  if (!config.hooks.empty() && (config.launcher.empty() || config.launcher[0] != '/'))
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "runner.config.launcher",
                 .message = "hooks run beneath writ-launch, and its absolute path is not known",
                 .hint = "set launcher in the runner's configuration"};
  for (const auto& [kind, spec] : config.hooks) {
    if (Status safe = CheckHookFile(spec.path); !safe)
      return std::move(safe).error().With("while checking hooks." + std::string(HookName(kind)));
  }
  if (!config.metrics_listen.empty()) WRIT_TRY(CheckStatusAddress(config.metrics_listen));
  return {};
}

}  // namespace writ::runner
