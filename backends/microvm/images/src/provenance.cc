#include "writ/backends/microvm/provenance.h"

#include <algorithm>

#include "writ/backends/image/oci_documents.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/base/file.h"
#include "writ/protocol/reader.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kMaxBytes = 16u << 20;
constexpr int kBundleDepth = 64;

Error Broken(const char* code, const std::string& what) {
  return Error{ErrorKind::kIntegrity, std::string("provenance.") + code, what,
               "do not rely on this image; build it again from its recipe"};
}
Error OfStep(const char* code, const ProvenanceStep& step, const std::string& what) {
  return Broken(code, "line " + std::to_string(step.line) + ": " + what);
}

bool IsFileName(std::string_view name) {
  return name.starts_with("receipt-") && name.ends_with(".json") &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
         });
}

json::Value StepJson(const ProvenanceStep& step) {
  json::Object out{
      {"line", step.line}, {"text", step.text}, {"parent", step.parent}, {"result", step.result}};
  if (step.files) out.Set("files", *step.files);
  if (step.run)
    out.Set("run", json::Object{{"runId", step.run->run_id},
                                {"command", step.run->command},
                                {"image", step.run->image},
                                {"layer", step.run->layer},
                                {"receipt", step.run->receipt},
                                {"file", step.run->file}});
  return out;
}

ProvenanceStep ReadStep(json::ObjectReader& reader) {
  ProvenanceStep step;
  step.line = static_cast<std::uint64_t>(reader.Integer("line", 1, 1 << 20));
  step.text = reader.String("text");
  step.parent = reader.As<protocol::Digest>("parent");
  step.result = reader.As<protocol::Digest>("result");
  step.files = reader.OptionalAs<protocol::Digest>("files");
  if (auto run = reader.OptionalChild("run")) {
    step.run.emplace();
    step.run->run_id = run->String("runId");
    step.run->command = run->String("command");
    step.run->image = run->As<protocol::Digest>("image");
    step.run->layer = run->As<protocol::Digest>("layer");
    step.run->receipt = run->As<protocol::Digest>("receipt");
    step.run->file =
        run->String("file", {.pattern = IsFileName, .pattern_words = "a receipt's name"});
    run->RefuseUnknown();
  }
  reader.RefuseUnknown();
  return step;
}

// Whether the bundle is of this step's run.
Status CheckRun(const ProvenanceStep& step, const std::string& text,
                const protocol::VerifyOptions& keys, bool& pinned) {
  const ProvenanceRun& run = *step.run;
  if (protocol::Sha256(text) != run.receipt)
    return OfStep("receipt", step, run.file + " is not the receipt that is named");
  const protocol::VerifyReport report = protocol::VerifyBundle(text, keys);
  if (!report.ok)
    return OfStep("bundle", step,
                  run.file + " does not verify: " +
                      (report.problems.empty() ? "" : report.problems.front().message));
  pinned = pinned && report.pinned;
  WRIT_ASSIGN(const json::Value bundle,
              json::Parse(text, {.max_depth = kBundleDepth,
                                 .max_bytes = protocol::kDefaultMaxBundleBytes}));
  const json::Value* contract_value = bundle.Find("contract");
  const json::Value* receipt_value = bundle.Find("receipt");
  if (contract_value == nullptr || receipt_value == nullptr)
    return OfStep("bundle", step, run.file + " lacks a part");
  WRIT_ASSIGN(const protocol::Contract contract, protocol::Contract::Parse(*contract_value));
  WRIT_ASSIGN(const protocol::Receipt receipt, protocol::Receipt::Parse(*receipt_value));
  const protocol::Execution execution = contract.EffectiveExecution();
  if (receipt.run_id.text() != run.run_id || receipt.status != protocol::RunStatus::kCompleted)
    return OfStep("run", step, "the receipt is of another run, or of one that did not end well");
  if (contract.isolation != "microvm" || receipt.isolation != "microvm")
    return OfStep("tier", step, "the command did not run in a machine");
  if (execution.image != image::ImageDigestText(run.image))
    return OfStep("image", step, "the command ran in another guest image");
  if (execution.kind != protocol::Execution::Kind::kArgv || execution.command != "/bin/sh" ||
      execution.args != std::vector<std::string>{"-c", run.command})
    return OfStep("command", step, "another command ran");
  if (std::find(receipt.artifact_hashes.begin(), receipt.artifact_hashes.end(), run.layer) ==
      receipt.artifact_hashes.end())
    return OfStep("layer", step, "the layer did not come out of that run");
  return {};
}

}  // namespace

json::Value Provenance::ToJson() const {
  json::Array list;
  for (const ProvenanceStep& step : steps) list.push_back(StepJson(step));
  return json::Object{{"version", kProvenanceVersion}, {"recipe", recipe},         {"base", base},
                      {"baseRoot", base_root},         {"steps", std::move(list)}, {"root", root}};
}

Result<Provenance> ParseProvenance(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, json::Parse(bytes, {.max_depth = 5, .max_bytes = kMaxBytes}));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  Provenance out;
  reader.Literal("version", kProvenanceVersion);
  out.recipe = reader.As<protocol::Digest>("recipe");
  out.base = reader.String("base");
  out.base_root = reader.As<protocol::Digest>("baseRoot");
  reader.ForEachObject(
      "steps", [&](json::ObjectReader& step) { out.steps.push_back(ReadStep(step)); },
      kMaxRecipeSteps);
  out.root = reader.As<protocol::Digest>("root");
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus(kProvenanceName));
  return out;
}

Result<ProvenanceReport> CheckProvenance(const std::string& folder,
                                         const protocol::VerifyOptions& keys) {
  WRIT_ASSIGN(const GuestManifest manifest, ReadGuestManifest(folder));
  if (!manifest.provenance)
    return Error{ErrorKind::kNotFound, "provenance.none", "this image is of no recipe",
                 "`writ image build -f RECIPE` makes one that tells how it came"};
  WRIT_ASSIGN(const std::string text, ReadFile(folder + "/" + kProvenanceName, kMaxBytes));
  if (protocol::Sha256(text) != *manifest.provenance)
    return Broken("digest", "provenance.json is not the one that the image names");
  ProvenanceReport out;
  WRIT_ASSIGN(out.provenance, ParseProvenance(text));
  WRIT_ASSIGN(const std::string recipe, ReadFile(folder + "/" + kRecipeName, kMaxRecipeBytes));
  if (protocol::Sha256(recipe) != out.provenance.recipe)
    return Broken("recipe", "the recipe is not the one that is named");
  WRIT_ASSIGN(const Recipe parsed, ParseRecipe(recipe));
  protocol::Digest at = out.provenance.base_root;
  out.pinned = true;
  std::size_t next = 0;
  for (const ProvenanceStep& step : out.provenance.steps) {
    if (step.parent != at) return OfStep("order", step, "it does not begin where another ended");
    at = step.result;
    while (next < parsed.steps.size() && parsed.steps[next].text != step.text) ++next;
    if (next == parsed.steps.size() || parsed.steps[next].line != step.line)
      return OfStep("recipe", step, "the recipe has no such step there");
    const RecipeStep& meant = parsed.steps[next++];
    if ((meant.kind == RecipeStep::Kind::kRun) != step.run.has_value() ||
        (step.run && step.run->command != meant.command))
      return OfStep("recipe", step, "the recipe says something else there");
    if (!step.run) continue;
    WRIT_ASSIGN(const std::string bundle,
                ReadFile(folder + "/" + step.run->file, protocol::kDefaultMaxBundleBytes));
    WRIT_TRY(CheckRun(step, bundle, keys, out.pinned));
    ++out.runs;
  }
  if (at != out.provenance.root) return Broken("order", "the steps do not end in this root");
  // What the recipe has and the provenance has not would be a step that nobody can look at.
  const auto runs =
      std::count_if(parsed.steps.begin(), parsed.steps.end(),
                    [](const RecipeStep& s) { return s.kind == RecipeStep::Kind::kRun; });
  if (static_cast<std::size_t>(runs) != out.runs)
    return Broken("missing", "the recipe has a RUN without a receipt");
  return out;
}

}  // namespace writ::backends::microvm
