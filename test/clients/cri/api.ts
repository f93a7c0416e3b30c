/** The Container Runtime Interface as a kubelet calls it: gRPC over the daemon's socket, with the messages of runtime.proto. */
import { join } from "node:path";
import { type Client, credentials, loadPackageDefinition, type ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export type NamespaceMode = "POD" | "CONTAINER" | "NODE" | "TARGET";

interface NamespaceOption {
  network?: NamespaceMode;
  pid?: NamespaceMode;
  ipc?: NamespaceMode;
  targetId?: string;
}

export interface PodConfig {
  metadata: { name: string; uid: string; namespace: string; attempt: number };
  hostname?: string;
  logDirectory: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  linux: {
    cgroupParent: string;
    securityContext: { namespaceOptions: NamespaceOption };
    sysctls?: Record<string, string>;
  };
}

export interface Resources {
  cpuPeriod?: number;
  cpuQuota?: number;
  cpuShares?: number;
  memoryLimitInBytes?: number;
  oomScoreAdj?: number;
}

export interface SecurityContext {
  capabilities?: { addCapabilities?: string[]; dropCapabilities?: string[] };
  namespaceOptions?: NamespaceOption;
  runAsUser?: { value: number };
  readonlyRootfs?: boolean;
  noNewPrivs?: boolean;
  maskedPaths?: string[];
  readonlyPaths?: string[];
  seccomp?: { profileType: "RuntimeDefault" | "Unconfined" };
}

export interface ContainerConfig {
  metadata: { name: string; attempt: number };
  image: { image: string };
  command?: string[];
  args?: string[];
  workingDir?: string;
  envs?: { key: string; value: string }[];
  mounts?: { containerPath: string; hostPath: string; readonly?: boolean }[];
  logPath?: string;
  stdin?: boolean;
  stdinOnce?: boolean;
  tty?: boolean;
  linux?: { resources?: Resources; securityContext?: SecurityContext };
}

export interface ContainerStatus {
  id: string;
  state: "CONTAINER_CREATED" | "CONTAINER_RUNNING" | "CONTAINER_EXITED" | "CONTAINER_UNKNOWN";
  createdAt: number;
  startedAt: number;
  finishedAt: number;
  exitCode: number;
  reason: string;
  message: string;
}

export interface PodStatus {
  id: string;
  state: "SANDBOX_READY" | "SANDBOX_NOTREADY";
  network: { ip: string } | null;
  runtimeHandler: string;
}

export interface Stats {
  attributes: { id: string };
  cpu: { usageCoreNanoSeconds: { value: number } | null } | null;
  memory: { workingSetBytes: { value: number } | null } | null;
}

/** What is said in each call, and what is answered. */
interface Methods {
  Version: [Record<string, never>, { runtimeName: string }];
  RunPodSandbox: [{ config: PodConfig; runtimeHandler: string }, { podSandboxId: string }];
  StopPodSandbox: [{ podSandboxId: string }, unknown];
  RemovePodSandbox: [{ podSandboxId: string }, unknown];
  PodSandboxStatus: [{ id: string; verbose?: boolean }, { status: PodStatus; info: Record<string, string> }];
  ListPodSandbox: [Record<string, never>, { items: { id: string }[] }];
  CreateContainer: [
    { podSandboxId: string; config: ContainerConfig; sandboxConfig: PodConfig },
    { containerId: string },
  ];
  StartContainer: [{ containerId: string }, unknown];
  StopContainer: [{ containerId: string; timeout: number }, unknown];
  RemoveContainer: [{ containerId: string }, unknown];
  ContainerStatus: [{ id: string; verbose?: boolean }, { status: ContainerStatus; info: Record<string, string> }];
  ListContainers: [Record<string, never>, { containers: { id: string; podSandboxId: string }[] }];
  UpdateContainerResources: [{ containerId: string; linux: Resources }, unknown];
  ExecSync: [
    { containerId: string; cmd: string[]; timeout: number },
    { stdout: Uint8Array; stderr: Uint8Array; exitCode: number },
  ];
  Exec: [
    { containerId: string; cmd: string[]; tty: boolean; stdin: boolean; stdout: boolean; stderr: boolean },
    { url: string },
  ];
  Attach: [{ containerId: string; tty: boolean; stdin: boolean; stdout: boolean; stderr: boolean }, { url: string }];
  ListContainerStats: [{ filter: { podSandboxId?: string; id?: string } }, { stats: Stats[] }];
  ImageStatus: [{ image: { image: string } }, { image: { id: string } | null }];
}
export type Method = keyof Methods;

type Unary = (
  request: unknown,
  options: { deadline: number },
  done: (error: ServiceError | null, response: unknown) => void,
) => void;
type Service = Client & Record<string, Unary>;

export class RuntimeApi {
  private readonly services: Service[];

  constructor(socket: string) {
    const loaded = loadPackageDefinition(
      loadSync(join(import.meta.dir, "runtime.proto"), { longs: Number, enums: String, defaults: true }),
    );
    const { v1 } = loaded["runtime"] as unknown as { v1: Record<string, new (...options: unknown[]) => Service> };
    const insecure = credentials.createInsecure();
    this.services = ["RuntimeService", "ImageService"].map((name) => new v1[name]!(`unix:${socket}`, insecure));
  }

  call<M extends Method>(method: M, request: Methods[M][0], timeoutMs = 60_000): Promise<Methods[M][1]> {
    const service = this.services.find((each) => typeof each[method] === "function")!;
    return new Promise((resolve, reject) =>
      service[method]!(request, { deadline: Date.now() + timeoutMs }, (error, response) => {
        // The library's own stack says nothing; its caller's says which step it was.
        if (error) reject(new Error(`${method}: ${error.details}`));
        else resolve(response as Methods[M][1]);
      }),
    );
  }

  close(): void {
    for (const service of this.services) service.close();
  }
}
