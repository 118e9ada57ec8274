// What a user of dockerode does with a swarm, through the socket in DOCKER_HOST. Prints one JSON object of what it saw.
'use strict';
const assert = require('node:assert');
const Docker = require('dockerode');

const IMAGE = process.argv[2];
const docker = new Docker({socketPath: process.env.DOCKER_HOST.replace('unix://', '')});

async function refused(call) {
  try {
    await call();
  } catch (error) {
    return {status: error.statusCode, message: error.json && error.json.message};
  }
  throw new Error('it was not refused');
}

async function main() {
  const seen = {};
  seen.ping = (await docker.ping()).toString();
  seen.version = (await docker.version()).Version;
  seen.info = (await docker.info()).Swarm.LocalNodeState;
  seen.nodes = (await docker.listNodes()).map((node) => node.Description.Hostname).sort();
  seen.swarm = (await docker.swarmInspect()).JoinTokens.Worker.slice(0, 9);

  const network = await docker.createNetwork({Name: 'ode-net', Driver: 'overlay', CheckDuplicate: true});
  seen.network = (await network.inspect()).Scope;
  const secret = await docker.createSecret({Name: 'ode-secret', Data: Buffer.from('x').toString('base64')});
  seen.secret = (await secret.inspect()).Spec.Name;

  const made = await docker.createService({
    Name: 'ode-web',
    Colour: 'red',
    TaskTemplate: {
      ContainerSpec: {Image: IMAGE},
      Networks: [{Target: network.id}],
      RestartPolicy: {Condition: 'any', Delay: 0},
    },
    Mode: {Replicated: {Replicas: 1}},
  });
  const service = docker.getService(made.id);
  const deadline = Date.now() + 60000;
  let tasks = [];
  do {
    tasks = await docker.listTasks({filters: {service: ['ode-web'], 'desired-state': ['running']}});
  } while (!tasks.some((task) => task.Status.State === 'running') && Date.now() < deadline);
  seen.tasks = tasks.map((task) => task.Status.State);
  // dockerode puts the version into the query and, with the rest of its options, into the body.
  const before = await service.inspect();
  await service.update({...before.Spec, version: before.Version.Index, Labels: {tier: 'front'}});
  const after = await service.inspect();
  seen.labels = after.Spec.Labels;
  seen.newer = after.Version.Index > before.Version.Index;
  seen.listed = (await docker.listServices({filters: {label: ['tier=front']}})).map((each) => each.Spec.Name);
  let logs;
  do { // what its server says when it listens
    logs = await service.logs({stdout: true, stderr: true, follow: false});
  } while (logs.length <= 8 && Date.now() < deadline);
  seen.logs = logs.length > 8;

  seen.images = (await docker.listImages({filters: {reference: [IMAGE]}})).map((image) => image.RepoTags);
  seen.image = (await docker.getImage(IMAGE).inspect()).Config.Env !== undefined;
  seen.unknown = (await refused(() => docker.getService('nothere').inspect())).status;
  seen.container = await refused(() => docker.createContainer({Image: IMAGE}));

  await service.remove();
  await secret.remove();
  assert.strictEqual((await refused(() => service.inspect())).status, 404);
  for (;;) { // the network goes when its last task has
    try {
      await network.remove();
      break;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
