// Configuration of the OHIF viewer, read before its own script (the page has no other script of ours).
//
// A page opens it as /viewer/basic?grant=G&StudyInstanceUIDs=U1&StudyInstanceUIDs=U2; without a grant, what is shown
// is what the session of the browser may see. An address chooses studies, language and layout, never a server:
// everything is fetched from /dicom-web of this origin, and what else stands in an address is dropped
// (CVE-2026-12473, where a parameter named the server).
(() => {
  'use strict';

  const GRANT = /^[A-Za-z0-9_-]{20,100}$/;
  const UID = /^[0-9.]{1,64}$/;
  const LAYOUT = /^@?[A-Za-z0-9_/-]{1,64}$/;
  const COMPARE = '@huren/beside-each-other';
  const MOST_BESIDE = 4;
  const WORDS = {
    zh: {
      title: '影像 · 互认 Huren',
      name: '互认',
      beside: '并排对比',
      ended: '此次阅片已结束或无权查看',
      none: '未指明要查看的检查',
      again: '请回到互认检查页面重新打开影像。',
    },
    en: {
      title: 'Images · Huren',
      name: 'Huren 互认',
      beside: 'Beside each other',
      ended: 'This viewing has ended, or is not yours to see',
      none: 'Nothing was named to be looked at',
      again: 'Please open the images again from the check.',
    },
  };

  const asked = new URLSearchParams(window.location.search);
  const language = (asked.get('lng') || '').toLowerCase().startsWith('en') ? 'en' : 'zh';
  const words = WORDS[language];
  const grant = asked.get('grant');
  const isGrant = grant !== null && GRANT.test(grant);
  const root = isGrant ? `/dicom-web/g/${grant}` : '/dicom-web';

  const listed = (name, form) =>
    asked
      .getAll(name)
      .flatMap(value => value.split(','))
      .filter(value => form.test(value));

  const studies = listed('StudyInstanceUIDs', UID);

  function tidyAddress() {
    const told = new URLSearchParams();
    if (isGrant) {
      told.append('grant', grant);
    }
    studies.forEach(uid => told.append('StudyInstanceUIDs', uid));
    for (const name of ['SeriesInstanceUIDs', 'initialSeriesInstanceUID', 'initialSOPInstanceUID']) {
      listed(name, UID).forEach(uid => told.append(name, uid));
    }
    const layout = listed('hangingProtocolId', LAYOUT)[0] || (studies.length > 1 ? COMPARE : '');
    if (layout) {
      told.append('hangingProtocolId', layout);
    }
    told.append('lng', language);
    window.history.replaceState(null, '', `${window.location.pathname}?${told}`);
  }

  // Each study named in the address in a viewport of its own, from left to right as they are named.
  function besideEachOther() {
    const named = studies.slice(0, MOST_BESIDE).map((_, place) => `study${place}`);
    const equals = value => ({ equals: { value } });
    const selectors = named.map((id, place) => [
      id,
      {
        studyMatchingRules: [
          { attribute: 'studyInstanceUIDsIndex', from: 'options', required: true, constraint: equals(place) },
        ],
        seriesMatchingRules: [
          { attribute: 'numImageFrames', required: true, constraint: { greaterThan: { value: 0 } } },
          { attribute: 'isDisplaySetFromUrl', weight: 20, constraint: { equals: true } },
        ],
      },
    ]);
    const viewportOptions = { viewportType: 'stack', toolGroupId: 'default', allowUnmatchedView: true };
    return {
      id: COMPARE,
      name: words.beside,
      protocolMatchingRules: [],
      toolGroupIds: ['default'],
      displaySetSelectors: Object.fromEntries(selectors),
      defaultViewport: { viewportOptions, displaySets: [{ id: 'study0', matchedDisplaySetsIndex: -1 }] },
      stages: [
        {
          name: words.beside,
          viewportStructure: { layoutType: 'grid', properties: { rows: 1, columns: named.length } },
          viewports: named.map(id => ({ viewportOptions: { ...viewportOptions }, displaySets: [{ id }] })),
        },
      ],
    };
  }

  const layouts = {
    id: '@huren/layouts',
    getHangingProtocolModule: () =>
      studies.length > 1 ? [{ name: COMPARE, protocol: besideEachOther() }] : [],
  };

  function line(text, lang, size) {
    const made = document.createElement('p');
    made.textContent = text;
    made.lang = lang;
    made.style.cssText = `margin:0.4em;font-size:${size}`;
    return made;
  }

  function showInstead(what) {
    if (document.getElementById('huren-ended')) {
      return;
    }
    const box = document.createElement('div');
    box.id = 'huren-ended';
    box.setAttribute('role', 'alert');
    box.style.cssText =
      'position:fixed;inset:0;z-index:2147483647;background:#0b1221;color:#fff;display:flex;' +
      'flex-direction:column;align-items:center;justify-content:center;text-align:center;font:1.1em sans-serif';
    for (const lang of language === 'zh' ? ['zh', 'en'] : ['en', 'zh']) {
      const sizes = lang === language ? ['1.8em', '1.2em'] : ['1.1em', '0.9em'];
      box.append(line(WORDS[lang][what], lang, sizes[0]), line(WORDS[lang].again, lang, sizes[1]));
    }
    document.body.append(box);
  }

  function whenThereIsAPage(show) {
    if (document.body) {
      show();
    } else {
      document.addEventListener('DOMContentLoaded', show, { once: true });
    }
  }

  // What frames are fetched with tells the status in its words alone.
  function statusOf(error) {
    const request = (error && error.request) || error || {};
    const told = /got status (\d{3})$/.exec(String(request.message || ''));
    return { status: told ? Number(told[1]) : request.status, address: request.responseURL || '' };
  }

  // Of what is fetched, only a value beside the images may be missing without an end of the viewing.
  function onHttpError(error) {
    const { status, address } = statusOf(error);
    if ([401, 403, 404].includes(status) && !address.includes('/bulkdata/')) {
      whenThereIsAPage(() => showInstead('ended'));
    }
  }

  tidyAddress();
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  document.title = words.title;
  if (grant !== null && !isGrant) {
    whenThereIsAPage(() => showInstead('ended'));
  } else if (!studies.length) {
    whenThereIsAPage(() => showInstead('none'));
  }

  window.config = {
    name: 'huren',
    routerBasename: '/viewer/',
    extensions: [layouts],
    modes: [],
    customizationService: [{ 'ohif.tours': { $set: [] } }],
    showStudyList: false, // studies are opened from a check, not browsed
    investigationalUseDialog: { option: 'never' },
    showErrorDetails: 'dev',
    showLoadingIndicator: true,
    showWarningMessageForCrossOrigin: false,
    maxNumberOfWebWorkers: 3,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 10 },
    whiteLabeling: {
      createLogoComponentFn: React =>
        React.createElement(
          'span',
          { style: { color: '#fff', fontSize: '1.25rem', whiteSpace: 'nowrap', padding: '0 0.5rem' } },
          words.name
        ),
    },
    defaultDataSourceName: 'huren',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'huren',
        configuration: {
          friendlyName: '互认 Huren',
          name: 'huren',
          qidoRoot: root,
          wadoRoot: root,
          wadoUriRoot: root,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          qidoSupportsIncludeField: true,
          supportsFuzzyMatching: false,
          supportsWildcard: false,
          enableStudyLazyLoad: true,
          omitQuotationForMultipartRequest: true,
          singlepart: 'bulkdata',
          bulkDataURI: { enabled: true },
        },
      },
    ],
    httpErrorHandler: onHttpError,
  };
})();
