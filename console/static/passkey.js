// Passkeys: one signs the offer that a page shows, or is made for policy. Without
// this file approvals are signed with the command.
'use strict';

(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  const digest = (hex) => Uint8Array.from(hex.match(/../g), (two) => parseInt(two, 16));

  const sign = async (form) => {
    const { response, rawId } = await navigator.credentials.get({ publicKey: {
      challenge: digest(form.elements.offer.value),
      rpId: form.dataset.party,
      allowCredentials: form.dataset.passkeys.split(' ').map((id) => ({ type: 'public-key', id: bytes(id) })),
      userVerification: 'required',
    } });
    return {
      verdict: 'approve', passkey: text(rawId), authenticator_data: text(response.authenticatorData),
      client_data: text(response.clientDataJSON), signature: text(response.signature),
    };
  };

  const make = async (form) => {
    const { response } = await navigator.credentials.create({ publicKey: {
      challenge: crypto.getRandomValues(new Uint8Array(32)),
      rp: { id: form.dataset.register, name: 'Mayfly' },
      user: { id: crypto.getRandomValues(new Uint8Array(32)), name: form.dataset.name, displayName: form.dataset.name },
      pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
      authenticatorSelection: { residentKey: 'discouraged', userVerification: 'required' },
      attestation: 'none',
    } });
    return { client_data: text(response.clientDataJSON), attestation: text(response.attestationObject) };
  };

  const said = (form, error) => {
    const e = form.querySelector('[data-said]');
    const why = error && error.name === 'NotAllowedError' ? 'it was cancelled, took too long, or none of your passkeys is here' : String((error && error.message) || error);
    e.textContent = 'The browser gave no passkey: ' + why + '. Nothing was done.' + (form.dataset.command ? ' You can sign with ' + form.dataset.command : '');
  };

  let asking = false;
  document.addEventListener('submit', async (e) => {
    const form = e.target;
    const how = e.submitter && e.submitter.matches('[data-passkey]') ? sign : 'register' in form.dataset ? make : null;
    if (!how) return;
    e.preventDefault();
    e.stopImmediatePropagation();
    if (asking) return;
    asking = true;
    try {
      const fields = await how(form);
      for (const [name, value] of Object.entries(fields)) {
        const input = document.createElement('input');
        input.type = 'hidden';
        input.name = name;
        input.value = value;
        form.append(input);
      }
      if (!form.isConnected) { // the page was brought up to date meanwhile
        form.hidden = true;
        document.body.append(form);
      }
      form.submit();
    } catch (error) {
      said(form.isConnected ? form : document.querySelector('form[data-passkeys], form[data-register]') || form, error);
    }
    asking = false;
  }, true);
})();
