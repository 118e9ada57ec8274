"""JSON as docker's CLI, docker-py and dockerd send it."""

from __future__ import annotations

# docker service create --name web … (CLI 27, API 1.47), pretty-printed; the CLI writes nulls and empty structs.
CLI_CREATE = rb"""
{
  "Name": "web",
  "Labels": {"tier": "front"},
  "TaskTemplate": {
    "ContainerSpec": {
      "Image": "nginx:1.27@sha256:28402db69fec7c17e179ea87882667f1e054391138f77ffaf0c3eb388efc3ffb",
      "Labels": {"a": "b"},
      "Command": ["/bin/sh"], "Args": ["-c", "sleep 1d"],
      "Hostname": "web-{{.Task.Slot}}", "Env": ["A=1", "B"], "Dir": "/srv", "User": "33:33", "Groups": ["44"],
      "Privileges": {"CredentialSpec": null, "SELinuxContext": null, "NoNewPrivileges": true},
      "StopSignal": "SIGINT", "TTY": true, "ReadOnly": true,
      "Mounts": [
        {"Type": "bind", "Source": "/data", "Target": "/data", "ReadOnly": true,
         "BindOptions": {"Propagation": "rslave"}},
        {"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 1023}}
      ],
      "StopGracePeriod": 15000000000,
      "Hosts": ["10.0.0.1 db"],
      "DNSConfig": {},
      "Isolation": "default",
      "Sysctls": {"net.core.somaxconn": "1024"},
      "CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["CAP_MKNOD"],
      "Ulimits": [{"Name": "nofile", "Hard": 2048, "Soft": 1024}],
      "OomScoreAdj": 500
    },
    "Resources": {
      "Limits": {"NanoCPUs": 500000000, "MemoryBytes": 67108864, "Pids": 100},
      "Reservations": {"NanoCPUs": 250000000, "MemoryBytes": 33554432}
    },
    "RestartPolicy": {"Condition": "on-failure", "Delay": 1000000000, "MaxAttempts": 3, "Window": 0},
    "Placement": {
      "Constraints": ["node.role==worker"],
      "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
      "MaxReplicas": 2,
      "Platforms": [{"Architecture": "amd64", "OS": "linux"}, {"OS": "linux"}]
    },
    "Networks": [{"Target": "host"}],
    "LogDriver": {"Name": "json-file"},
    "ForceUpdate": 0
  },
  "Mode": {"Replicated": {"Replicas": 3}},
  "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5000000000,
                   "MaxFailureRatio": 0, "Order": "stop-first"},
  "RollbackConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5000000000,
                     "MaxFailureRatio": 0, "Order": "stop-first"},
  "EndpointSpec": {"Mode": "vip"}
}
"""

# docker service create IMAGE of an old CLI: nulls wherever Go had nil.
OLD_CLI_CREATE = rb"""
{"Name":"","Labels":null,"TaskTemplate":{"ContainerSpec":{"Image":"busybox","Labels":null,"Command":null,
"Args":["top"],"Env":null,"Privileges":null,"Mounts":null,"StopGracePeriod":null,"Healthcheck":null,"Hosts":null,
"DNSConfig":{},"Secrets":null,"Configs":null,"Isolation":"","Sysctls":null},"Resources":{"Limits":{},
"Reservations":{}},"RestartPolicy":{"Condition":"","MaxAttempts":null},"Placement":{},"Networks":null,
"LogDriver":null,"ForceUpdate":0,"Runtime":""},"Mode":{},"UpdateConfig":null,"Networks":null,
"EndpointSpec":{"Mode":"","Ports":null}}
"""

# Every field of the API, whether it has behaviour or not.
FULL_SERVICE = rb"""
{"Name":"all","Labels":{"l":"1"},
 "TaskTemplate":{
  "ContainerSpec":{
   "Image":"app:1","Labels":{"x":"y"},"Command":["a"],"Args":["b"],"Hostname":"h","Env":["E=1"],"Dir":"/d",
   "User":"u","Groups":["g"],
   "Privileges":{"CredentialSpec":{"Config":"c","File":"","Registry":""},
     "SELinuxContext":{"Disable":false,"User":"u","Role":"r","Type":"t","Level":"l"},
     "Seccomp":{"Mode":"custom","Profile":"e30="},"AppArmor":{"Mode":"disabled"},"NoNewPrivileges":true},
   "Init":false,"StopSignal":"SIGTERM","TTY":true,"OpenStdin":true,"ReadOnly":true,
   "Mounts":[
    {"Type":"volume","Source":"v","Target":"/v","Consistency":"cached","VolumeOptions":{"NoCopy":true,
      "Labels":{"k":"v"},"Subpath":"s","DriverConfig":{"Name":"local","Options":{"o":"p"}}}},
    {"Type":"bind","Source":"/b","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rprivate",
      "NonRecursive":true,"CreateMountpoint":true,"ReadOnlyNonRecursive":true,"ReadOnlyForceRecursive":true}},
    {"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1,"Mode":448,"Options":[["noexec"],["uid","1"]]}},
    {"Type":"image","Source":"i","Target":"/i","ImageOptions":{"Subpath":"p"}},
    {"Type":"cluster","Source":"group:g","Target":"/c","ClusterOptions":{}}],
   "StopGracePeriod":0,
   "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000,"Timeout":2000000,"StartPeriod":3000000,
     "StartInterval":4000000,"Retries":5},
   "Hosts":["1.2.3.4 a b"],"DNSConfig":{"Nameservers":["8.8.8.8"],"Search":["s"],"Options":["ndots:1"]},
   "Secrets":[{"File":{"Name":"f","UID":"0","GID":"0","Mode":292},"SecretID":"sid","SecretName":"sn"}],
   "Configs":[{"File":{"Name":"f","UID":"0","GID":"0","Mode":292},"ConfigID":"cid","ConfigName":"cn"},
     {"Runtime":{},"ConfigID":"rid","ConfigName":"rn"}],
   "Isolation":"default","Sysctls":{"a":"b"},"CapabilityAdd":["CAP_SYS_TIME"],"CapabilityDrop":["ALL"],
   "Ulimits":[{"Name":"core","Hard":-1,"Soft":0}],"OomScoreAdj":-100},
  "Resources":{"Limits":{"NanoCPUs":1,"MemoryBytes":2,"Pids":3},
    "Reservations":{"NanoCPUs":4,"MemoryBytes":5,"GenericResources":[
      {"NamedResourceSpec":{"Kind":"GPU","Value":"u1"}},{"DiscreteResourceSpec":{"Kind":"SSD","Value":3}}]},
    "SwapBytes":-1,"MemorySwappiness":0},
  "RestartPolicy":{"Condition":"none","Delay":0,"MaxAttempts":0,"Window":1},
  "Placement":{"Constraints":["node.id==x"],"Preferences":[{"Spread":{"SpreadDescriptor":"engine.labels.z"}}],
    "MaxReplicas":1,"Platforms":[{"Architecture":"x86_64","OS":"linux"}]},
  "Networks":[{"Target":"n","Aliases":["a"],"DriverOpts":{"k":"v"}}],
  "LogDriver":{"Name":"json-file","Options":{"max-size":"1m"}},
  "ForceUpdate":7,"Runtime":"container"},
 "Mode":{"ReplicatedJob":{"MaxConcurrent":2,"TotalCompletions":9}},
 "UpdateConfig":{"Parallelism":2,"Delay":10,"FailureAction":"rollback","Monitor":20,"MaxFailureRatio":0.25,
   "Order":"start-first"},
 "RollbackConfig":{"Parallelism":0,"FailureAction":"continue","MaxFailureRatio":0.0,"Order":"stop-first"},
 "Networks":[{"Target":"old"}],
 "EndpointSpec":{"Mode":"dnsrr","Ports":[{"Name":"p","Protocol":"udp","TargetPort":53,"PublishedPort":5353,
   "PublishMode":"host"}]}}
"""

# docker node update --availability drain
NODE_UPDATE = rb"""{"Name":"n1","Labels":{"zone":"a"},"Role":"manager","Availability":"drain"}"""

# docker swarm update, as `GET /swarm` of dockerd gave it
SWARM_UPDATE = rb"""
{"Name":"default","Labels":{},"Orchestration":{"TaskHistoryRetentionLimit":5},
 "Raft":{"SnapshotInterval":10000,"KeepOldSnapshots":0,"LogEntriesForSlowFollowers":500,"ElectionTick":10,
  "HeartbeatTick":1},
 "Dispatcher":{"HeartbeatPeriod":5000000000},
 "CAConfig":{"NodeCertExpiry":7776000000000000,"ExternalCAs":[{"Protocol":"cfssl","URL":"https://ca","Options":
  {"k":"v"},"CACert":"-----BEGIN CERTIFICATE-----"}],"SigningCACert":"c","SigningCAKey":"k","ForceRotate":2},
 "TaskDefaults":{"LogDriver":{"Name":"json-file","Options":{"max-file":"3"}}},
 "EncryptionConfig":{"AutoLockManagers":true}}
"""

# docker secret create
SECRET = rb"""{"Name":"s","Labels":{},"Data":"c2VjcmV0","Driver":{"Name":"d","Options":{"a":"b"}},
"Templating":{"Name":"golang"}}"""
CONFIG = rb"""{"Name":"c","Labels":{"a":"b"},"Data":"AAEC","Templating":{"Name":"golang"}}"""

NETWORK = rb"""
{"Name":"shop","Labels":{"a":"b"},"DriverConfiguration":{"Name":"overlay","Options":{"encrypted":""}},
 "IPv6Enabled":true,"Internal":true,"Attachable":true,"Ingress":true,
 "IPAMOptions":{"Driver":{"Name":"default"},"Configs":[{"Subnet":"10.1.0.0/24","Range":"10.1.0.128/25",
  "Gateway":"10.1.0.1"}]},"ConfigFrom":{"Network":"conf"},"Scope":"swarm"}
"""

# docker-py: client.services.create("busybox", ["top"], mode={"Replicated": {"Replicas": 2}})
DOCKER_PY_CREATE = rb"""
{"Name":"py","Labels":null,"TaskTemplate":{"ContainerSpec":{"Image":"busybox","Command":["top"]}},
 "Mode":{"Replicated":{"Replicas":2}},"UpdateConfig":null,"RollbackConfig":null,"EndpointSpec":null}
"""
