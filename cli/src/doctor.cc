#include "doctor.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <utility>

#include "context.h"
#include "duration.h"
#include "writ/backends/registry.h"
#include "writ/base/clock.h"
#include "writ/protocol/runner_capabilities.h"
#include "writ/runner/deadline.h"
#include "writ/runner/engine.h"
#include "writ/runner/plane_client.h"
#include "writ/runner/profiles.h"

namespace writ::cli {
namespace {

constexpr std::chrono::seconds kPlaneLimit{10};
// Contracts and tokens have times: more than this is told (the runner itself follows the plane's).
constexpr std::chrono::seconds kClockLimit{5};

void AddAgents(const runner::RunnerConfig& config, std::vector<Layer>& layers) {
  for (const runner::AgentProfile& profile : runner::AllProfiles()) {
    if (!profile.spawnable || profile.program.empty()) continue;
    const std::string kind(profile.kind);
    const auto path = config.agent_paths.find(kind);
    const runner::InstalledAgent agent = runner::LocateFor(config, profile);
    Layer layer{"agent " + kind, Health::kGood, "", agent.lack, agent.hint};
    if (!agent.lack.empty()) {
      layer.health = path != config.agent_paths.end() ? Health::kBad : Health::kAbsent;
      layer.found = "not usable";
    } else {
      layer.found = agent.command.empty() ? "" : agent.command.back();
      if (agent.version) layer.found += ", version " + *agent.version;
    }
    layers.push_back(std::move(layer));
  }
}

// What runs get that ask for nothing in particular.
void AddDefaultTier(const runner::RunnerConfig& config, DoctorReport& report) {
  const auto minimum = protocol::ParseTier(config.minimum_isolation);
  const auto wanted = protocol::ParseTier(config.default_isolation);
  if (!minimum || !wanted) return;
  const protocol::Tier tier = protocol::RaisedTo(*minimum, *wanted);
  const std::string name(protocol::Word(tier));
  Layer layer{"isolation", Health::kGood, name + " where a contract names none", "", ""};
  const bool usable = std::any_of(
      report.ladder.begin(), report.ladder.end(),
      [&](const Rung& rung) { return backends::TierName(rung.tier) == name && rung.usable(); });
  if (!usable) {
    layer.health = Health::kLimited;
    layer.cause = name + " cannot be used here, so such runs are refused";
    layer.mend = "see the ladder, or set defaultIsolation and minimumIsolation in runner.json";
  }
  report.layers.push_back(std::move(layer));
}

// What readiness found goes to the layer that it is about.
void AddProblems(const std::vector<runner::ReadinessProblem>& problems,
                 std::vector<Layer>& layers) {
  static const std::map<std::string, std::string, std::less<>> kLayers = {
      {"ready.disk", "disk"},     {"ready.inodes", "disk"}, {"ready.work_dir", "disk"},
      {"ready.memory", "memory"}, {"ready.path", "path"},   {"ready.egress_proxy", "egress proxy"}};
  for (const runner::ReadinessProblem& problem : problems) {
    if (problem.code.starts_with("ready.agent.") || problem.code == "ready.backend") continue;
    const auto known = kLayers.find(problem.code);
    const std::string name = known != kLayers.end() ? known->second : problem.code;
    auto layer = std::find_if(layers.begin(), layers.end(),
                              [&](const Layer& each) { return each.name == name; });
    if (layer == layers.end())
      layer = layers.insert(layers.end(), Layer{name, Health::kGood, "", "", ""});
    layer->health = problem.blocks_claims ? Health::kBad : Health::kLimited;
    if (problem.code == "ready.path") layer->found = "closed to jobs' uids";
    layer->cause = problem.message;
    layer->mend = problem.hint;
  }
}

void AddPlane(const runner::RunnerConfig& config, std::vector<Layer>& layers) {
  if (config.plane.url.empty()) {
    layers.push_back({"plane", Health::kAbsent, "none is configured",
                      "`writ run` brings its own; a runner needs one",
                      "name it with --plane, or as plane in runner.json"});
    return;
  }
  SystemClock clock;
  Layer reach{"plane", Health::kGood, config.plane.url, "", ""};
  auto client = runner::PlaneClient::Open(config.plane, clock);
  auto health = client ? client->Health(runner::Deadline::After(clock, kPlaneLimit), {})
                       : Result<runner::PlaneInfo>(client.error());
  if (!health) {
    reach.health = Health::kBad;
    Error plain = health.error();
    reach.mend = std::exchange(plain.hint, "");
    reach.cause = plain.ToString();
    layers.push_back(std::move(reach));
    return;
  }
  reach.found += health->extended ? ", with leases" : ", without the extension writ.1";
  layers.push_back(std::move(reach));
  Layer time{"clock", Health::kGood, "", "", ""};
  if (auto offset = client->clock_offset()) {
    const auto far = std::chrono::abs(*offset);
    time.found =
        far < std::chrono::milliseconds(1500)
            ? "the plane's time"
            : FormatDuration(far) + (offset->count() > 0 ? " behind" : " ahead of") + " the plane";
    if (far > kClockLimit) {
      time.health = Health::kLimited;
      time.cause = "this machine's clock or the plane's is wrong";
      time.mend = "let both follow a time server";
    }
  } else {
    time.health = Health::kLimited;
    time.found = "not known";
    time.cause = "the plane's answers have no Date";
  }
  layers.push_back(std::move(time));
}

}  // namespace

Result<DoctorReport> Examine(const RunnerSetup& setup) {
  // A plane that is only to be reached for needs no key: nothing is taken from it.
  RunnerSetup asked = setup;
  asked.plane = {};
  WRIT_ASSIGN(RunnerSettings settings, ReadRunnerSettings(asked));
  runner::RunnerConfig& config = settings.config;
  if (!setup.plane.url.empty()) config.plane = setup.plane;
  backends::BackendRegistry registry;
  WRIT_TRY(RegisterBackends(registry, setup.dir, config, backends::LaunchedOptions::Ahead::kNone));

  DoctorReport out;
  out.layers = {LookAtKernel(),
                LookAtUserNamespaces(),
                LookAtCgroups(),
                LookAtUids(config),
                LookAtMemory(),
                LookAtDisk(config.work_dir),
                {"path", Health::kGood, "jobs can enter their sessions", "", ""}};
  out.layers.push_back({"egress proxy", Health::kGood, config.egress_proxy, "", ""});
  out.ladder = LookAtLadder(registry, config);
  AddDefaultTier(config, out);
  AddProblems(runner::LookAtHost(config, registry), out.layers);
  AddAgents(config, out.layers);
  out.layers.push_back(LookAtProxies(config));
  AddPlane(config, out.layers);
  out.layers.push_back(LookAtKvm());
  for (Layer& runtime : LookAtRuntimes()) out.layers.push_back(std::move(runtime));
  out.layers.push_back(LookAtSnapshots(setup.dir));
  out.layers.push_back(LookAtPageServer(setup.dir));
  if (auto pool = LookAtPool(config)) out.layers.push_back(std::move(*pool));
  out.usable = std::none_of(out.layers.begin(), out.layers.end(),
                            [](const Layer& layer) { return layer.health == Health::kBad; });
  return out;
}

std::string RenderDoctor(const DoctorReport& report) {
  std::string out = RenderLadder(report.ladder);
  std::size_t width = 0;
  for (const Layer& layer : report.layers) width = std::max(width, layer.name.size());
  auto cell = [](std::string text, std::size_t size) {
    text.resize(std::max(text.size(), size), ' ');
    return text;
  };
  std::string missing;
  for (const Layer& layer : report.layers) {
    out += cell(std::string(HealthName(layer.health)), 8) + " " +
           cell(TerminalSafe(layer.name), width) + "  " + TerminalSafe(layer.found) + "\n";
    const std::string indent(9 + width + 2, ' ');
    if (!layer.cause.empty()) out += indent + "cause: " + TerminalSafe(layer.cause) + "\n";
    if (!layer.mend.empty() && layer.health != Health::kGood)
      out += indent + "mend:  " + TerminalSafe(layer.mend) + "\n";
    if (layer.health == Health::kBad)
      missing += (missing.empty() ? "" : ", ") + TerminalSafe(layer.name);
  }
  out += report.usable ? "runs can be done here\n"
                       : "runs cannot be done here; missing: " + missing + "\n";
  return out;
}

json::Value DoctorJson(const DoctorReport& report) {
  json::Array layers;
  for (const Layer& layer : report.layers) {
    json::Object item{{"layer", json::ToWellFormedUtf8(layer.name)},
                      {"health", std::string(HealthName(layer.health))},
                      {"found", json::ToWellFormedUtf8(layer.found)}};
    if (!layer.cause.empty()) item.Set("cause", json::ToWellFormedUtf8(layer.cause));
    if (!layer.mend.empty()) item.Set("mend", json::ToWellFormedUtf8(layer.mend));
    layers.push_back(std::move(item));
  }
  return json::Object{{"usable", report.usable},
                      {"ladder", LadderJson(report.ladder)},
                      {"layers", std::move(layers)}};
}

}  // namespace writ::cli
