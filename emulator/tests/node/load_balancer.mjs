// Creates a group behind a load balancer, reads it, changes it and deletes it, with both clients.
// Prints what it has found as JSON. Argument: the port of the emulator.
import compute from '@google-cloud/compute';
import {compute as googleapis} from '@googleapis/compute';
import {PassThroughClient} from 'google-auth-library';

const port = Number(process.argv[2]);
const [project, region, group] = ['demo', 'us-central1', 'regions/us-central1/instanceGroups/web'];
const options = {
  apiEndpoint: '127.0.0.1',
  port,
  protocol: 'http',
  authClient: new PassThroughClient(),
  projectId: project,
};
const found = {};

const templates = new compute.InstanceTemplatesClient(options);
const groups = new compute.RegionInstanceGroupManagersClient(options);
const autoscalers = new compute.RegionAutoscalersClient(options);
const checks = new compute.HealthChecksClient(options);
const services = new compute.BackendServicesClient(options);
const maps = new compute.UrlMapsClient(options);
const globalOperations = new compute.GlobalOperationsClient(options);
const regionOperations = new compute.RegionOperationsClient(options);

async function finished(call) {
  let operation = (await call)[0].latestResponse;
  while (operation.status !== 'DONE') {
    const request = {project, operation: operation.name};
    [operation] = operation.region
      ? await regionOperations.wait({...request, region})
      : await globalOperations.wait(request);
  }
  if (operation.error) throw new Error(JSON.stringify(operation.error));
}

// The API's reason: one client has it in its message, the other one in the response.
async function refusal(call) {
  return await call.then(() => null, thrown => {
    const text = thrown.message + JSON.stringify(thrown.response?.data ?? '');
    return /notFound|resourceInUseByAnotherResource/.exec(text)?.[0] ?? text;
  });
}

async function actions() {
  const counts = {};
  const request = {project, region, instanceGroupManager: 'web'};
  for await (const each of groups.listManagedInstancesAsync(request))
    counts[each.currentAction] = (counts[each.currentAction] ?? 0) + 1;
  return counts;
}

async function until(condition) {
  for (let left = 200; !(await condition()); left--) {
    if (!left) throw new Error(`not reached: ${condition}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

const properties = {
  machineType: 'e2-small',
  disks: [{
    boot: true,
    initializeParams: {sourceImage: 'projects/debian-cloud/global/images/family/debian-12'},
  }],
  networkInterfaces: [{network: 'global/networks/default'}],
};
await finished(templates.insert({
  project, instanceTemplateResource: {name: 'v1', properties},
}));
await finished(groups.insert({
  project, region,
  instanceGroupManagerResource: {
    name: 'web',
    targetSize: 3,
    versions: [{instanceTemplate: 'global/instanceTemplates/v1'}],
    namedPorts: [{name: 'http', port: 8080}],
  },
}));
found.managed = await actions();
await until(async () => {
  const [read] = await groups.get({project, region, instanceGroupManager: 'web'});
  return (found.stable = read.status.isStable);
});
found.running = await actions();

await finished(autoscalers.insert({
  project, region,
  autoscalerResource: {
    name: 'web',
    target: 'regions/us-central1/instanceGroupManagers/web',
    autoscalingPolicy: {
      minNumReplicas: 3, maxNumReplicas: 5, cpuUtilization: {utilizationTarget: 0.6},
    },
  },
}));
await finished(checks.insert({
  project,
  healthCheckResource: {name: 'web', type: 'HTTP', httpHealthCheck: {port: 8080}},
}));
for (const name of ['web', 'web2'])
  await finished(services.insert({
    project,
    backendServiceResource: {
      name,
      loadBalancingScheme: 'EXTERNAL_MANAGED',
      healthChecks: ['global/healthChecks/web'],
      backends: name === 'web'
        ? [{group, balancingMode: 'UTILIZATION', capacityScaler: 1}] : [],
    },
  }));
await until(async () => {
  const [read] = await services.getHealth({
    project, backendService: 'web', resourceGroupReferenceResource: {group},
  });
  found.health = {};
  for (const {healthState} of read.healthStatus)
    found.health[healthState] = (found.health[healthState] ?? 0) + 1;
  return found.health.HEALTHY === 3;
});
const [service] = await services.get({project, backendService: 'web'});
const {balancingMode, capacityScaler} = service.backends[0];
found.backend = {balancingMode, capacityScaler};
found.services = [];
for await (const [, list] of services.aggregatedListAsync({project, filter: 'name = web'}))
  found.services.push(...list.backendServices.map(each => each.name));

await finished(maps.insert({
  project, urlMapResource: {name: 'web', defaultService: 'global/backendServices/web'},
}));
const weighted = (name, weight) => ({backendService: `global/backendServices/${name}`, weight});
await finished(maps.patch({
  project,
  urlMap: 'web',
  urlMapResource: {
    hostRules: [{hosts: ['*'], pathMatcher: 'all'}],
    pathMatchers: [{
      name: 'all',
      defaultRouteAction: {weightedBackendServices: [weighted('web', 90), weighted('web2', 10)]},
    }],
  },
}));
const [map] = await maps.get({project, urlMap: 'web'});
found.weights = map.pathMatchers[0].defaultRouteAction.weightedBackendServices.map(
  each => each.weight);
found.refused = [
  await refusal(maps.get({project, urlMap: 'none'})),
  await refusal(services.delete({project, backendService: 'web'})),
];

const api = googleapis({version: 'v1', rootUrl: `http://127.0.0.1:${port}/`});
const {data: listed} = await api.urlMaps.list({project});
const {data: patched} = await api.urlMaps.patch({
  project, urlMap: 'web', requestBody: {description: 'changed'},
});
await api.globalOperations.wait({project, operation: patched.name});
const {data: read} = await api.urlMaps.get({project, urlMap: 'web'});
found.googleapis = {
  maps: listed.items.map(each => each.name),
  description: read.description,
  refused: await refusal(api.urlMaps.get({project, urlMap: 'none'})),
};

await finished(maps.delete({project, urlMap: 'web'}));
for (const backendService of ['web', 'web2'])
  await finished(services.delete({project, backendService}));
await finished(checks.delete({project, healthCheck: 'web'}));
await finished(autoscalers.delete({project, region, autoscaler: 'web'}));
await finished(groups.delete({project, region, instanceGroupManager: 'web'}));
await finished(templates.delete({project, instanceTemplate: 'v1'}));
found.left = (await services.list({project}))[0].concat((await templates.list({project}))[0]);

console.log(JSON.stringify(found));
