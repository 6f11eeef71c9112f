// One function per group of commands: it adds them to the application with their options, help and
// examples. Each command's callback does the work and leaves its exit code in the context.
#pragma once

namespace CLI {
class App;
}

namespace writ::cli {

struct Context;

void AddInit(CLI::App& app, Context& context);
void AddPlane(CLI::App& app, Context& context);
void AddRunner(CLI::App& app, Context& context);
void AddRunnerAdmin(CLI::App& app, Context& context);  // runners revoke|rotate; after AddRunners
void AddPlaneGc(CLI::App& app, Context& context);      // plane gc; after AddPlane
void AddPlaneKeys(CLI::App& app, Context& context);    // plane rotate-key|keys; after AddPlane
void AddArtifacts(CLI::App& app, Context& context);
void AddRunnerStatus(CLI::App& runner, Context& context);    // below `runner`
void AddRunnerReceipts(CLI::App& runner, Context& context);  // below `runner`
void AddRunners(CLI::App& app, Context& context);            // runners, runners key
void AddRun(CLI::App& app, Context& context);
void AddRuns(CLI::App& app, Context& context);        // runs, watch, approve, cancel
void AddSession(CLI::App& app, Context& context);     // exec, attach, pause, resume
void AddCheckpoint(CLI::App& app, Context& context);  // checkpoint, fork
void AddCopy(CLI::App& app, Context& context);        // cp
void AddReceipt(CLI::App& app, Context& context);     // receipt, bundle, verify
void AddPull(CLI::App& app, Context& context);
void AddExport(CLI::App& app, Context& context);
void AddSecrets(CLI::App& app, Context& context);
void AddPolicy(CLI::App& app, Context& context);
void AddTokens(CLI::App& app, Context& context);  // enroll-token, principals
void AddCanonicalize(CLI::App& app, Context& context);
void AddConfig(CLI::App& app, Context& context);  // config show, config check
void AddDoctor(CLI::App& app, Context& context);
void AddBackup(CLI::App& app, Context& context);    // backup, restore
void AddImage(CLI::App& app, Context& context);     // image import|ls|inspect|rm
void AddSnapshot(CLI::App& app, Context& context);  // snapshot build|ls|inspect|verify|rm|gc
void AddShell(CLI::App& app, Context& context);     // completion; last: it describes the others

}  // namespace writ::cli
