// Imports a file, with nothing at hand but the address of a daemon: what it can do is learned by reflection.
// node client.js ADDRESS PATH; prints one JSON document.
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const [address, path] = process.argv.slice(2);
const credentials = grpc.credentials.createInsecure();
const OPTIONS = { keepCase: true, longs: String, enums: String, defaults: true };
const JOBS = 'lading.v1.JobService';
const PATIENCE = 30_000;

const deadline = () => ({ deadline: Date.now() + PATIENCE });

// As much of grpc/reflection/v1alpha/reflection.proto as is needed.
const string = (id) => ({ type: 'string', id });
const REFLECTION = {
  nested: {
    grpc: { nested: { reflection: { nested: { v1alpha: { nested: {
      ServerReflection: { methods: { ServerReflectionInfo: {
        requestType: 'Request', requestStream: true, responseType: 'Response', responseStream: true,
      } } },
      Request: {
        oneofs: { message_request: { oneof: ['file_containing_symbol', 'list_services'] } },
        fields: { file_containing_symbol: string(4), list_services: string(7) },
      },
      Response: { fields: {
        file_descriptor_response: { type: 'Files', id: 4 },
        list_services_response: { type: 'Services', id: 6 },
        error_response: { type: 'Failure', id: 7 },
      } },
      Files: { fields: { file_descriptor_proto: { rule: 'repeated', type: 'bytes', id: 1 } } },
      Services: { fields: { service: { rule: 'repeated', type: 'Service', id: 1 } } },
      Service: { fields: { name: string(1) } },
      Failure: { fields: { error_code: { type: 'int32', id: 1 }, error_message: string(2) } },
    } } } } } },
  },
};

async function reflected() {
  const { ServerReflection } = grpc.loadPackageDefinition(loader.fromJSON(REFLECTION, OPTIONS)).grpc.reflection.v1alpha;
  const client = new ServerReflection(address, credentials);
  const call = client.ServerReflectionInfo(deadline());
  const ask = (request) =>
    new Promise((resolve, reject) => {
      call.once('data', resolve);
      call.once('error', reject);
      call.write(request);
    });
  const { list_services_response: listed } = await ask({ list_services: '' });
  const { file_descriptor_response: found, error_response: failed } = await ask({ file_containing_symbol: JOBS });
  if (!found) throw new Error(failed.error_message);
  call.end();
  client.close();
  return { services: listed.service.map(({ name }) => name), files: found.file_descriptor_proto };
}

// A FileDescriptorSet is nothing but its files, each as field 1.
function descriptorSet(files) {
  return Buffer.concat(
    files.flatMap((file) => {
      const head = [0x0a];
      let length = file.length;
      for (; length > 0x7f; length >>>= 7) head.push((length & 0x7f) | 0x80);
      return [Buffer.from([...head, length]), file];
    }),
  );
}

const { services, files } = await reflected();
const definition = loader.loadFileDescriptorSetFromBuffer(descriptorSet(files), OPTIONS);
const { JobService } = grpc.loadPackageDefinition(definition).lading.v1;
const client = new JobService(address, credentials);

const call = (method, request) =>
  new Promise((resolve, reject) => {
    client[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });

async function journal(parent) {
  const codes = [];
  for await (const { journal_entry: entry } of client.WatchJournal({ parent }, deadline())) codes.push(entry.code);
  return codes;
}

const spec = { import_spec: { files: [{ path }], target: { table: 'people' } } };
const made = await call('CreateJob', { job: { label: 'from Node', spec } });
const watch = client.WatchJobs({ name: made.name }, deadline());
const states = [];
let begun = false;
let last;
for await (const event of watch) {
  if (event.kind === 'KIND_BOOKMARK' && !begun) {
    // The snapshot is complete: what happens from now on is seen.
    begun = true;
    await call('StartJob', { name: made.name, etag: made.etag });
  }
  if (event.kind === 'KIND_BOOKMARK' || event.kind === 'KIND_PROGRESS') continue;
  last = event.job;
  states.push(last.state);
  if (['STATE_FINISHED', 'STATE_FAILED', 'STATE_CANCELED'].includes(last.state)) break;
}
// To leave the loop does not end the call.
watch.on('error', () => {}).cancel();
const refusal = await call('PauseJob', { name: made.name }).catch((error) => error);
console.log(
  JSON.stringify({ services, states, job: last, journal: await journal(made.name), refusal: refusal.code }),
);
client.close();
